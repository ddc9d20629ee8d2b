"""The catalogue: objects made by code, their pictures, sketches and captions."""
