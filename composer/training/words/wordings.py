"""Other words for the held-out classes of Sketchy, written before anything was measured on them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """Ways to ask for a class without its name.

    Attributes:
        synonym: Another name, or that of a common kind of it; None where there is none.
        description: What somebody says who does not think of the name.
    """

    synonym: str | None
    description: str


WORDINGS = {
    "ape": Wording(synonym="gorilla", description="a large monkey without a tail"),
    "axe": Wording(
        synonym="hatchet", description="a tool with a blade on a wooden handle for chopping wood"
    ),
    "bell": Wording(synonym="chime", description="a metal thing that rings when it is struck"),
    "butterfly": Wording(synonym=None, description="an insect with large colourful wings"),
    "cannon": Wording(synonym="artillery piece", description="an old heavy gun on wheels"),
    "church": Wording(synonym="chapel", description="a building with a steeple where people pray"),
    "deer": Wording(synonym="stag", description="a forest animal with antlers"),
    "eyeglasses": Wording(
        synonym="spectacles", description="a pair of lenses in a frame worn to see better"
    ),
    "geyser": Wording(synonym="hot spring", description="hot water shooting out of the ground"),
    "hamburger": Wording(
        synonym="burger", description="a bun with a meat patty, lettuce and cheese"
    ),
    "hermit_crab": Wording(
        synonym=None, description="a small sea creature that lives in an empty snail shell"
    ),
    "jack-o-lantern": Wording(
        synonym="carved pumpkin", description="a carved pumpkin with a candle inside for halloween"
    ),
    "lobster": Wording(synonym=None, description="a red sea creature with two big claws"),
    "owl": Wording(synonym=None, description="a night bird with big round eyes"),
    "pineapple": Wording(
        synonym="ananas", description="a tropical fruit with a spiky skin and a crown of leaves"
    ),
    "racket": Wording(
        synonym="racquet", description="it has strings and is used to hit a tennis ball"
    ),
    "saxophone": Wording(synonym="sax", description="a curved brass instrument played in jazz"),
    "sheep": Wording(synonym="ram", description="a farm animal with woolly fur"),
    "trumpet": Wording(synonym="cornet", description="a brass instrument with three valves"),
    "umbrella": Wording(synonym="parasol", description="something to keep the rain off"),
}
