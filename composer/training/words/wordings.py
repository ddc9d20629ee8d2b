"""Other words for the held-out classes of Sketchy, written before anything was measured on them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherWords:
    """Ways to ask for a class without its name.

    Attributes:
        synonym: Another name, or that of a common kind of it; None where there is none.
        description: What somebody says who does not think of the name.
    """

    synonym: str | None
    description: str


WORDINGS = {
    "ape": OtherWords(synonym="gorilla", description="a large monkey without a tail"),
    "axe": OtherWords(
        synonym="hatchet", description="a tool with a blade on a wooden handle for chopping wood"
    ),
    "bell": OtherWords(synonym="chime", description="a metal thing that rings when it is struck"),
    "butterfly": OtherWords(synonym=None, description="an insect with large colourful wings"),
    "cannon": OtherWords(synonym="artillery piece", description="an old heavy gun on wheels"),
    "church": OtherWords(
        synonym="chapel", description="a building with a steeple where people pray"
    ),
    "deer": OtherWords(synonym="stag", description="a forest animal with antlers"),
    "eyeglasses": OtherWords(
        synonym="spectacles", description="a pair of lenses in a frame worn to see better"
    ),
    "geyser": OtherWords(synonym="hot spring", description="hot water shooting out of the ground"),
    "hamburger": OtherWords(
        synonym="burger", description="a bun with a meat patty, lettuce and cheese"
    ),
    "hermit_crab": OtherWords(
        synonym=None, description="a small sea creature that lives in an empty snail shell"
    ),
    "jack-o-lantern": OtherWords(
        synonym="carved pumpkin", description="a carved pumpkin with a candle inside for halloween"
    ),
    "lobster": OtherWords(synonym=None, description="a red sea creature with two big claws"),
    "owl": OtherWords(synonym=None, description="a night bird with big round eyes"),
    "pineapple": OtherWords(
        synonym="ananas", description="a tropical fruit with a spiky skin and a crown of leaves"
    ),
    "racket": OtherWords(
        synonym="racquet", description="it has strings and is used to hit a tennis ball"
    ),
    "saxophone": OtherWords(synonym="sax", description="a curved brass instrument played in jazz"),
    "sheep": OtherWords(synonym="ram", description="a farm animal with woolly fur"),
    "trumpet": OtherWords(synonym="cornet", description="a brass instrument with three valves"),
    "umbrella": OtherWords(synonym="parasol", description="something to keep the rain off"),
}
