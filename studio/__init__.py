"""The application: command line, engine and page."""
