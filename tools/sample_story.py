"""What the sample's shop sells, what its scraper found, and what happens in its comic book."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """A row of the catalogue; `picture` is the name of an emoji, empty where the row has no picture."""

    id: str
    brand: str
    title: str
    price: str
    category: str
    rating: str
    picture: str


# As shops export them: a repeated row, a row that contradicts an earlier one, blanks, and one without a picture.
PRODUCTS = (
    Product("1001", "Forno", "Stone-baked pizza", "8.90", "meals", "4.6", "pizza"),
    Product("1002", "Forno", "Spaghetti with tomato sauce", "6.50", "meals", "4.1", "spaghetti"),
    Product("1003", "Grill & Co", "Hamburger with cheese", "7.20", "meals", "4.3", "hamburger"),
    Product("1004", "Grill & Co", "Hot dog", "4.00", "meals", "", "hot dog"),
    Product("1005", "Grill & Co", "French fries, large", "3.50", "meals", "4.0", "french fries"),
    Product("1006", "Casa", "Taco with beef", "5.10", "meals", "4.2", "taco"),
    Product("1007", "Umi", "Sushi, six pieces", "9.80", "meals", "4.8", "sushi"),
    Product("1008", "Umi", "Cooked rice", "2.20", "meals", "3.9", "cooked rice"),
    Product("2001", "Orchard", "Red apples, 1 kg", "2.90", "fruit", "4.4", "red apple"),
    Product("2002", "Orchard", "Green apples, 1 kg", "2.80", "fruit", "4.2", "green apple"),
    Product("2003", "Tropica", "Bananas, 1 kg", "1.90", "fruit", "4.5", "banana"),
    Product("2004", "Tropica", "Pineapple", "3.40", "fruit", "4.0", "pineapple"),
    Product("2005", "Tropica", "Coconut", "2.60", "fruit", "", "coconut"),
    Product("2006", "Orchard", "Strawberries, 500 g", "4.20", "fruit", "4.9", "strawberry"),
    Product("2007", "Orchard", "Cherries, 500 g", "5.00", "fruit", "4.7", "cherries"),
    Product("2008", "Orchard", "Grapes, 500 g", "3.80", "fruit", "4.1", "grapes"),
    Product("2009", "Tropica", "Watermelon", "", "fruit", "4.6", "watermelon"),
    Product("2010", "Orchard", "Lemons, net of six", "2.10", "fruit", "4.3", "lemon"),
    Product("2003", "Tropica", "Bananas, 1 kg", "1.90", "fruit", "4.5", "banana"),
    Product("3001", "Field", "Carrots, bunch", "1.60", "vegetables", "4.2", "carrot"),
    Product("3002", "Field", "Tomatoes, 1 kg", "3.10", "vegetables", "4.4", "tomato"),
    Product("3003", "Field", "Broccoli", "1.90", "vegetables", "3.8", "broccoli"),
    Product("3004", "Field", "Hot peppers", "2.40", "vegetables", "4.0", "hot pepper"),
    Product("3005", "Field", "Avocado, ripe", "1.30", "vegetables", "4.6", "avocado"),
    Product("4001", "Konditor", "Birthday cake with candles", "24.00", "cakes", "4.9", "birthday cake"),
    Product("4002", "Konditor", "Cupcake", "2.80", "cakes", "4.5", "cupcake"),
    Product("4003", "Konditor", "Doughnut with icing", "1.70", "cakes", "4.3", "doughnut"),
    Product("4004", "Konditor", "Croissant", "1.50", "cakes", "4.6", "croissant"),
    Product("4005", "Konditor", "Pretzel", "1.20", "cakes", "", "pretzel"),
    Product("4004", "Konditor", "Butter croissant", "1.80", "cakes", "4.6", "croissant"),
    Product("5001", "Barrel", "Beer, 0.5 l", "2.40", "drinks", "4.1", "beer mug"),
    Product("5002", "Barrel", "Red wine, glass", "4.50", "drinks", "4.4", "wine glass"),
    Product("5003", "Forno", "Hot coffee", "2.20", "drinks", "4.7", "hot beverage"),
    Product("5004", "Forno", "Gift card", "25.00", "", "", ""),
)


class Item(NamedTuple):
    """An item as a scraper finds it; `pictures` photos of it."""

    id: str
    title: str
    price: float
    brand: str
    size: str
    condition: str
    picture: str
    pictures: int = 1


# Two visits to one shop, a week apart: the second finds three items of the first again, one of them cheaper.
BATCHES = {
    "batch_20260301_101500": (
        Item("f-101", "Summer dress", 39.0, "Linea", "M", "new", "dress", 2),
        Item("f-102", "Blue jeans", 45.0, "Denim Works", "32", "good", "jeans", 2),
        Item("f-103", "T-shirt, plain", 12.0, "Basics", "L", "new", "t-shirt"),
        Item("f-104", "Running shoe", 79.0, "Swift", "43", "new", "running shoe", 3),
        Item("f-105", "High-heeled shoe, red", 65.0, "Linea", "38", "good", "high-heeled shoe"),
        Item("f-106", "Silk necktie", 25.0, "Gent", "", "new", "necktie"),
        Item("f-107", "Top hat", 55.0, "Gent", "58", "fair", "top hat"),
        Item("f-108", "Reading glasses", 18.0, "Clara", "", "new", "glasses"),
        Item("f-109", "Sunglasses", 22.0, "Clara", "", "good", "sunglasses", 2),
    ),
    "batch_20260308_094500_250000": (
        Item("f-104", "Running shoe", 59.0, "Swift", "43", "new", "running shoe", 3),
        Item("f-105", "High-heeled shoe, red", 65.0, "Linea", "38", "good", "high-heeled shoe"),
        Item("f-109", "Sunglasses", 22.0, "Clara", "", "good", "sunglasses", 2),
        Item("f-110", "School backpack", 35.0, "Trek", "20 l", "new", "backpack", 2),
        Item("f-111", "Gold crown for a party", 9.0, "Fest", "", "good", "crown"),
        Item("f-112", "Diamond ring", 480.0, "Clara", "54", "new", "ring"),
        Item("f-113", "Warm socks", 7.0, "Basics", "40", "new", "socks"),
        Item("f-114", "Graduation cap", 19.0, "Gent", "", "new", "graduation cap"),
    ),
}


class Panel(NamedTuple):
    """One panel: who is in it, and what is said, told and heard."""

    picture: str
    dialogue: tuple[str, ...] = ()
    narration: tuple[str, ...] = ()
    sfx: tuple[str, ...] = ()


BOOK = "The Lost Balloon"
PAGES = (
    (
        Panel("house", narration=("It was a quiet Sunday.",)),
        Panel("robot", dialogue=("Where is my balloon?",)),
        Panel("dog", dialogue=("I only dropped it for a second!",), sfx=("WOOF",)),
    ),
    (
        Panel("balloon", narration=("High above the roofs it flew.",)),
        Panel("cat", dialogue=("Birds have all the fun.",)),
        Panel("eagle", dialogue=("That is no bird.",), sfx=("SCREECH",)),
        Panel("helicopter", narration=("Somebody had called for help.",), sfx=("CHOP CHOP CHOP",)),
    ),
    (
        Panel("rocket", dialogue=("We follow it to the moon!",), sfx=("WHOOSH",)),
        Panel("astronaut", dialogue=("One small step for a dog.",)),
        Panel("full moon", narration=("The moon said nothing, as always.",)),
    ),
    (
        Panel("octopus", dialogue=("Is this yours? It fell into the sea.",)),
        Panel("birthday cake", narration=("There was cake for everybody.",)),
        Panel("red heart", narration=("The end.",)),
    ),
)
