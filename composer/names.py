"""Names of the composers."""

from typing import Final

CONVERTER: Final = "converter"  # trained like a composer, but serves the others
DUET: Final = "duet"
MODALITY: Final = "modality"
PROMPTED: Final = "prompted"
PROMPTED_CATEGORY: Final = "prompted-category"
SENTENCE: Final = "sentence"
SENTENCE_SMALL: Final = "sentence-small"
SENTENCE_MEDIUM: Final = "sentence-medium"
SENTENCE_LARGE: Final = "sentence-large"
SENTENCE_SYMMETRIC: Final = "sentence-symmetric"
INVERSION: Final = "inversion"
SLERP: Final = "slerp"
BASIC: Final = "basic"
FREEDOM: Final = "freedom"
PRODUCT: Final = "product"

SENTENCES: Final = (SENTENCE, SENTENCE_SMALL, SENTENCE_MEDIUM, SENTENCE_LARGE, SENTENCE_SYMMETRIC)
TRAINED: Final = (DUET, MODALITY, PROMPTED, PROMPTED_CATEGORY, *SENTENCES)
TRAINING_FREE: Final = (BASIC, FREEDOM, PRODUCT, SLERP, INVERSION)
