"""Which emoji are in the sample, in which folder, and what the demo asks for."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """How many pictures a folder takes, from which of CLDR's groups."""

    number: int
    groups: tuple[str, ...]


CATEGORIES = {
    "animals": Claim(52, ("Animals & Nature/animal", "Smileys & People/monkey", "Smileys & People/cat")),
    "nature": Claim(22, ("Animals & Nature/plant",)),
    "food": Claim(62, ("Food & Drink",)),
    "weather": Claim(16, ("Travel & Places/sky",)),
    "travel": Claim(36, ("Travel & Places/transport", "Travel & Places/place")),
    "activities": Claim(28, ("Activities",)),
    "objects": Claim(46, ("Objects", "Travel & Places/time")),
    "clothing": Claim(14, ("Smileys & People/clothing",)),
    "symbols": Claim(22, ("Smileys & People/emotion", "Symbols")),
    "faces": Claim(26, ("Smileys & People/face",)),
    "people": Claim(12, ("Smileys & People/person", "Smileys & People/body")),
    "flags": Claim(10, ("Flags",)),
}

EXTRA = {
    "teapot": "food",
    "waffle": "food",
    "blueberries": "food",
    "butter": "food",
    "onion": "food",
    "garlic": "food",
    "flamingo": "animals",
    "otter": "animals",
    "polar bear": "animals",
    "sloth": "animals",
    "beaver": "animals",
    "black cat": "animals",
    "ringed planet": "weather",
    "potted plant": "nature",
    "chair": "objects",
    "ladder": "objects",
    "toothbrush": "objects",
    "axe": "objects",
    "kite": "activities",
    "yo-yo": "activities",
    "parachute": "travel",
    "racing car": "travel",
    "motorcycle": "travel",
    "white heart": "symbols",
    "astronaut": "people",
    "firefighter": "people",
    "ninja": "people",
}

POPULAR = frozenset(
    {
        *EXTRA,
        *("dog face", "cat face", "lion", "tiger face", "horse face", "cow face", "pig face", "panda", "rabbit face"),
        *("elephant", "giraffe", "penguin", "owl", "dolphin", "whale", "spouting whale", "octopus", "shark", "turtle"),
        *("butterfly", "honeybee", "lady beetle", "snail", "spider", "monkey face", "frog", "fox", "bear", "dog"),
        *("cat", "rooster"),
        *("unicorn", "eagle", "duck", "chicken", "tropical fish", "crocodile", "sauropod", "koala", "hedgehog"),
        *("rose", "tulip", "sunflower", "cherry blossom", "cactus", "palm tree", "evergreen tree", "mushroom"),
        *("four leaf clover", "maple leaf", "deciduous tree", "hibiscus", "bouquet"),
        *("pizza", "hamburger", "french fries", "hot dog", "taco", "sushi", "spaghetti", "bread", "cheese wedge"),
        *("red apple", "green apple", "banana", "grapes", "strawberry", "lemon", "watermelon", "pineapple", "cherries"),
        *("tomato", "carrot", "broccoli", "avocado", "hot pepper", "ear of corn", "doughnut", "cookie"),
        *("ice cream", "soft ice cream", "chocolate bar", "hot beverage", "beer mug", "wine glass", "cooking"),
        *(
            "birthday cake",
            "croissant",
            "shortcake",
            "popcorn",
            "pancakes",
            "cupcake",
            "tangerine",
            "peach",
            "kiwi fruit",
            "coconut",
            "pretzel",
        ),
        *("sun", "rainbow", "snowflake", "full moon", "crescent moon", "star", "umbrella with rain drops", "cloud"),
        *("fire", "high voltage", "snowman", "sun with face", "cloud with rain", "tornado"),
        *("automobile", "fire engine", "police car", "bus", "taxi", "bicycle", "motorcycle", "airplane", "rocket"),
        *("helicopter", "sailboat", "ship", "locomotive", "tractor", "ambulance", "house", "castle", "volcano"),
        *("Statue of Liberty", "tent", "ferris wheel", "racing car", "anchor", "kick scooter", "bullet train"),
        *("soccer ball", "basketball", "tennis", "trophy", "wrapped gift", "Christmas tree", "jack-o-lantern"),
        *("balloon", "video game", "artist palette", "game die", "joker", "fireworks", "american football", "baseball"),
        *("guitar", "violin", "trumpet", "drum", "musical keyboard", "mobile phone", "laptop", "camera", "television"),
        *("light bulb", "open book", "key", "hammer", "scissors", "money bag", "envelope", "alarm clock"),
        *("microscope", "telescope", "locked", "pencil", "magnet", "bell", "candle", "battery", "bathtub"),
        *("crown", "running shoe", "glasses", "sunglasses", "necktie", "jeans", "dress", "top hat", "t-shirt"),
        *("backpack", "high-heeled shoe", "gem stone", "ring", "socks", "graduation cap"),
        *("red heart", "blue heart", "green heart", "yellow heart", "broken heart", "hundred points"),
        *(
            "check mark button",
            "no entry",
            "musical note",
            "recycling symbol",
            "peace symbol",
            "warning",
            "radioactive",
            "black heart",
        ),
        *("grinning face", "crying face", "face with tears of joy", "smiling face with sunglasses", "angry face"),
        *("clown face", "ghost", "robot", "alien", "skull", "pile of poo", "sleeping face", "nerd face", "zany face"),
        *("smiling face with heart-eyes", "thinking face", "cowboy hat face", "nauseated face"),
        *("thumbs up", "waving hand", "clapping hands", "Santa Claus", "mermaid", "eye", "flexed biceps", "baby"),
        *("flag: Japan", "flag: Germany", "flag: Brazil", "flag: Canada"),
        *("pirate flag", "rainbow flag", "chequered flag", "flag: United Kingdom"),
    }
)

QUERIES = {
    "red heart": ("red heart",),
    "pizza": ("pizza",),
    "dog face": ("dog face",),
    "dog": ("dog", "dog face"),
    "elephant": ("elephant",),
    "a butterfly": ("butterfly",),
    "bee": ("honeybee",),
    "banana": ("banana",),
    "strawberry": ("strawberry",),
    "cup of coffee": ("hot beverage",),
    "beer": ("beer mug",),
    "birthday cake": ("birthday cake",),
    "fire truck": ("fire engine",),
    "car": ("automobile",),
    "rocket": ("rocket",),
    "rainbow": ("rainbow",),
    "sunflower": ("sunflower",),
    "guitar": ("guitar",),
    "soccer ball": ("soccer ball",),
    "crying face": ("crying face",),
}
