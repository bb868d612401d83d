"""Words that people search pictures by, for tuning where a project has no records of its own: things, scenes, colours,
styles and moods, none chosen for any model."""

PLAIN_QUERIES = tuple(
    query.strip()
    for query in """
    a cat; a dog playing in the snow; two horses; a bird on a branch; a fish; a butterfly on a flower; an elephant
    a lion; a snake; insects; a bear; farm animals; a dinosaur; a dragon; a unicorn; a robot; a ghost; an astronaut
    a woman smiling; an old man with a beard; a child with a balloon; a crowd of people; a family at the table
    a portrait; hands; a face seen from the side; someone running; people dancing; a couple holding hands; a baby
    a red jacket; a blue dress; white sneakers; a leather bag; a wristwatch; sunglasses; a hat; a striped shirt; jeans
    a wooden chair; a sofa; a lamp; a kitchen; an empty room; a bookshelf; a bed; a mirror; a clock on the wall
    a bicycle; a car on the road; a train; an aeroplane; a ship at sea; a motorcycle; a bus; a truck; a bridge
    mountains; a beach at sunset; a forest in autumn; a river; a waterfall; a desert; a field of wheat; the night sky
    a city at night; a narrow street; a skyscraper; a church; a castle; a house with a garden; ruins; a harbour
    rain; snow falling; a storm; clouds; a rainbow; fog; the moon; fire; an explosion; smoke; water drops; ice
    an apple; fruit; a bowl of soup; bread; a birthday cake; pizza; coffee; a glass of wine; vegetables; ice cream
    a tree; red roses; a cactus; leaves; mushrooms; grass; a sunflower
    a football match; swimming; a guitar; someone reading a book; a chess board; a toy; a computer; a telephone
    a drawing in black and white; an oil painting; a watercolour; a cartoon; a comic panel with a speech bubble; a logo
    a map; a sign with text; a diagram; a pattern; an abstract shape; a photograph from above; a close-up; a silhouette
    red; blue; green; yellow; something golden; dark; bright colours; pastel colours; black and white
    happy; sad; angry; surprised; scary; peaceful; a fight; a kiss; a secret; winter; summer; a wedding; a holiday; war
    """.replace("\n", ";").split(";")
    if query.strip()
)
