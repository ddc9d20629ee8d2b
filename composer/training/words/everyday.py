"""Words that people use with pictures and drawings, beside the names of things."""

from typing import Final

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey",
    "beige", "golden", "silver", "turquoise", "dark blue", "light green", "dark red", "cream",
    "black and white", "colourful",
)  # fmt: skip
MATERIALS = (
    "wooden", "metal", "glass", "plastic", "stone", "leather", "paper", "brick", "ceramic",
    "rubber", "steel", "wicker", "woollen", "cotton", "velvet", "oak", "marble", "concrete",
    "copper", "clay",
)  # fmt: skip
SUBSTANCES = (
    "wood", "metal", "glass", "plastic", "stone", "leather", "paper", "brick", "clay", "steel",
    "ice", "snow", "sand", "wool", "chocolate", "gold", "marble", "wicker",
)  # fmt: skip
QUALITIES = (
    "old", "new", "small", "big", "large", "tiny", "huge", "tall", "short", "long", "round",
    "square", "broken", "wet", "dirty", "clean", "shiny", "striped", "spotted", "patterned",
    "empty", "open", "closed", "modern", "antique", "simple", "ornate", "pretty", "strange",
    "young", "wild", "cute", "bright", "dark", "rusty", "folded", "hanging", "curved", "flat",
)  # fmt: skip
COUNTS = ("two", "three", "several", "many", "a group of", "a pair of", "a few", "a row of")
PLACES = (
    "on the beach", "in the snow", "in the grass", "in a field", "on a street", "in the water",
    "on a table", "on a white background", "in a room", "in the forest", "on a mountain",
    "in the city", "in a park", "by the sea", "in the sky", "on the floor", "in a kitchen",
    "on a road", "in the garden", "under a tree", "near a lake", "in the desert", "at night",
    "at sunset", "in the rain", "indoors", "outdoors", "in front of a house", "on a wall",
    "in a shop window", "on a boat", "at the zoo", "on a farm", "in a cage", "in the air",
    "in the dark", "on a hill", "by a river", "in a museum", "on a chair", "in a box",
    "in the fog", "against a blue sky", "in a crowd", "on grass", "on a bridge", "in a market",
    "on stage", "in a stadium", "on the ground",
)  # fmt: skip
CREATURE_ACTIONS = (
    "running", "sleeping", "jumping", "sitting", "standing", "eating", "swimming", "flying",
    "looking at the camera", "lying down", "walking", "playing", "climbing", "drinking water",
    "carrying a stick", "chasing a ball", "resting", "fighting", "looking up", "being fed",
)  # fmt: skip
PEOPLE = (
    "a man", "a woman", "a boy", "a girl", "a child", "a little girl", "a little boy",
    "a young man", "a young woman", "an old man", "an old woman", "two men", "two women",
    "two boys", "two girls", "two children", "three people", "several people", "a group of people",
    "a crowd", "a couple", "a family", "a baby", "a toddler", "a person", "people", "children",
    "a football player", "a cyclist", "a skateboarder", "a climber", "a surfer", "a musician",
    "a dancer", "a worker", "a soldier", "a cowboy", "a runner", "a skier", "a snowboarder",
)  # fmt: skip
WEARING = (
    "in a red shirt", "in a blue shirt", "in a white shirt", "wearing a hat", "with a backpack",
    "in black", "in a yellow jacket", "wearing sunglasses", "in a swimsuit", "in a suit",
    "with a helmet", "in a green dress", "in a pink dress", "with long hair", "with a beard",
    "in uniform", "in jeans", "wearing a costume", "in an orange vest", "without a shirt",
)  # fmt: skip
PERSON_ACTIONS = (
    "riding a bike", "riding a horse", "playing a guitar", "playing football", "playing baseball",
    "playing tennis", "playing basketball", "climbing a rock", "walking a dog", "holding a baby",
    "eating an ice cream", "drinking coffee", "reading a book", "talking on the phone",
    "taking a photo", "cooking food", "jumping into a pool", "swimming", "surfing a wave",
    "skateboarding", "skiing down a slope", "snowboarding", "running a race", "dancing",
    "singing", "sitting on a bench", "standing in line", "sleeping", "laughing", "smiling",
    "throwing a ball", "kicking a ball", "catching a frisbee", "pushing a cart", "driving a car",
    "rowing a boat", "fishing", "painting a picture", "playing the drums", "playing in the sand",
    "sliding down a slide", "swinging on a swing", "blowing bubbles", "splashing in the water",
    "waiting for a bus", "crossing the street", "wearing a mask", "carrying a bag", "working",
    "looking through a telescope", "playing with a toy", "riding a motorcycle", "wrestling",
    "pointing at something", "hugging", "marching in a parade", "hiking", "camping", "kneeling",
    "doing a trick on a skateboard", "climbing a ladder", "feeding birds", "paddling a kayak",
)  # fmt: skip
ANIMALS = (
    "a dog", "a brown dog", "a black dog", "a white dog", "two dogs", "three dogs", "a puppy",
    "a black and white dog", "a cat", "a horse", "a bird", "a greyhound", "a large dog",
    "a small dog", "a tan dog",
)  # fmt: skip
ANIMAL_ACTIONS = (
    "running", "jumping over a fence", "catching a ball", "playing with a toy", "swimming",
    "chasing another dog", "carrying a stick in its mouth", "shaking off water", "lying down",
    "standing", "sitting", "racing", "digging a hole", "leaping", "walking", "biting a rope",
    "catching a frisbee", "running through the water", "wearing a muzzle", "playing",
)  # fmt: skip
RELATIONS = ("and", "with", "next to", "on", "in front of", "behind", "under", "beside")
LACKS = ("without", "with no", "but no", "and no")
MEDIA = (
    "a watercolour of {a}", "{a} in watercolour", "an oil painting of {a}", "{} in pencil",
    "a pencil drawing of {a}", "a charcoal drawing of {a}", "an ink drawing of {a}",
    "a cartoon of {a}", "{a} in cartoon style", "{a} as a cartoon", "a clay model of {a}",
    "{a} made of clay", "a low-poly rendering of {a}", "a blueprint of {a}",
    "a night photo of {a}", "{a} at night", "a black and white photo of {a}",
    "a sculpture of {a}", "a statue of {a}", "a toy {}", "a photo of a toy {}", "a tattoo of {a}",
    "an origami {}", "a mosaic of {a}", "graffiti of {a}", "an embroidered {}", "a plush {}",
    "a poster of {a}", "a drawing of {a} on paper", "a rough sketch of {a}",
    "a simple line drawing of {a}", "an icon of {a}", "an emoji of {a}", "a silhouette of {a}",
    "a 3d rendering of {a}", "an engraving of {a}", "a collage of {a}",
)  # fmt: skip
# Words that show nothing, apart by blanks; every kit may be asked with them.
FUNCTION_WORDS: Final = """
    a about above across after against all along also among an and any are around as at away be been
    before behind below beneath beside besides between beyond both but by can close down each either
    every far few find for from front give has have having here his her i image images in inside
    into is it its just like looking made make many me more most much my near neither next no none
    nor not of off on one only onto opposite or other our out outside over please photo photos
    picture pictures seen several she he show showing shown side since so some something than that
    the their them there these they this those through to too toward towards two under underneath
    until up upon us very want was we were what where which while who whose with within without you
    your
"""
