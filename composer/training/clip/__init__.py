"""Contrastive pretraining of the mini CLIP; `python -m composer.training.clip` runs it."""
