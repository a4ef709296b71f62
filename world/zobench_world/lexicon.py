"""The words of the small world that the embedded model is trained on and the embedded tasks speak of.

Every list is plain data. Names carry the pronoun of their person; the values of a relation are told apart by their
kind (a city is never a job); the two senses of an ambiguous word belong to different topics.
"""

from __future__ import annotations

from dataclasses import dataclass

HE = tuple(
    """Adam Ben Carl David Eric Frank George Henry Ivan Jack Kevin Leo Martin Nick Oscar Paul Robert Simon Tom
    Victor""".split()
)
SHE = tuple(
    """Anna Beth Clara Diana Emma Fiona Grace Helen Irene Julia Karen Laura Maria Nina Olga Paula Rosa Sarah Tina
    Vera""".split()
)
NAMES = HE + SHE
PRONOUN = {**dict.fromkeys(HE, "he"), **dict.fromkeys(SHE, "she")}


@dataclass(frozen=True)
class Relation:
    """What can be said of a person. {p}: the person; {v}: a value, one of `values`.

    says: sentences of passages. claims: clauses of what is claimed of a passage. asks: questions for the value.
    doubt: a question to be affirmed or denied. turned: a clause that begins with the value; no text has it.
    """

    values: tuple[str, ...]
    says: tuple[str, ...]
    claims: tuple[str, ...]
    asks: tuple[str, ...]
    doubt: str
    turned: str


RELATIONS: dict[str, Relation] = {
    "home": Relation(
        tuple("Oslo Rome Paris London Berlin Madrid Vienna Prague Dublin Athens Lisbon Cairo Tokyo Delhi Lima".split()),
        ("{p} lives in {v}.", "{p} has a home in {v}.", "The home of {p} is in {v}."),
        ("{p} lives in {v}", "the home of {p} is in {v}"),
        ("Where does {p} live?", "In which city is the home of {p}?"),
        "does {p} live in {v}",
        "{v} is the home of {p}",
    ),
    "job": Relation(
        tuple("doctor teacher farmer lawyer nurse pilot baker painter singer driver writer judge cook soldier".split()),
        ("{p} works as a {v}.", "{p} is a {v}.", "{p} found a job as a {v}."),
        ("{p} works as a {v}", "{p} is a {v}"),
        ("What is the job of {p}?", "What does {p} work as?"),
        "does {p} work as a {v}",
        "the {v} is {p}",
    ),
    "pet": Relation(
        tuple("dog cat horse rabbit parrot goat snake turtle mouse pony lizard duck".split()),
        ("{p} has a {v}.", "{p} owns a {v}.", "{p} keeps a {v} at home."),
        ("{p} owns a {v}", "{p} has a {v}"),
        ("Which animal does {p} own?", "What animal does {p} have?"),
        "does {p} own a {v}",
        "the {v} is owned by {p}",
    ),
    "food": Relation(
        tuple("rice bread cheese soup pasta fish cake salad pizza honey beans corn".split()),
        ("{p} likes {v}.", "{p} loves to eat {v}.", "The favorite food of {p} is {v}."),
        ("{p} likes {v}", "{p} loves to eat {v}"),
        ("What does {p} like to eat?", "What is the favorite food of {p}?"),
        "does {p} like {v}",
        "{v} is liked by {p}",
    ),
    "trip": Relation(
        tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
        ("{p} went on a trip on {v}.", "{p} left for a trip on {v}.", "The trip of {p} began on {v}."),
        ("{p} went on a trip on {v}", "the trip of {p} began on {v}"),
        ("When did {p} go on a trip?", "On which day did the trip of {p} begin?"),
        "did {p} go on a trip on {v}",
        "{v} was the day when {p} left for a trip",
    ),
    "car": Relation(
        tuple("red blue green white black yellow brown pink gray purple".split()),
        ("{p} drives a {v} car.", "The car of {p} is {v}.", "{p} bought a {v} car."),
        ("{p} drives a {v} car", "the car of {p} is {v}"),
        ("What color is the car of {p}?", "Which color is the car that {p} drives?"),
        "does {p} drive a {v} car",
        "the {v} car is the car of {p}",
    ),
    "sport": Relation(
        tuple("tennis chess football golf hockey cricket boxing rowing".split()),
        ("{p} plays {v}.", "{p} is good at {v}.", "{p} trains {v} every week."),
        ("{p} plays {v}", "{p} is good at {v}"),
        ("Which sport does {p} play?", "What does {p} play?"),
        "does {p} play {v}",
        "{v} is played by {p}",
    ),
}

# ---- reviews

PRAISE = tuple(
    "charming warm funny brilliant lovely clever moving fresh superb gentle elegant honest smart witty".split()
)
BLAME = tuple("dull slow boring weak ugly empty stupid messy awful clumsy bland lazy hollow lifeless".split())
WORKS = tuple("film movie story play song book show drama comedy novel".split())
PARTS = tuple("acting plot script music cast dialogue humor pacing".split())
DEGREES = ("very", "really", "quite", "truly", "rather")

# ---- numbers

THINGS = tuple("apples eggs pens cards coins books cups plates shirts stamps keys shells".split())
NUMBERS = tuple(str(n) for n in range(2, 13))
DEALS = (("bought", "did {p} buy"), ("found", "did {p} find"), ("sold", "did {p} sell"), ("has", "does {p} have"))
"""How people come by things: the verb of a sentence, and its question after "How many apples"."""

# ---- what people know, hope and deny

KNOWN = ("knows", "remembers", "saw", "proved", "noticed")
DENIED = ("made up", "pretends", "lied", "dreamed", "falsely says")
OPEN = ("hopes", "fears", "guesses", "thinks", "doubts")
"""Verbs before "that ...", by what they say of their clause: that it holds, that it does not, neither."""

# ---- two people in one sentence

MEETINGS = tuple(
    "thanked called paid helped visited followed asked hired trusted carried praised invited left met pushed".split()
)
"""Verbs between two people."""
MOODS = tuple("tired ill late rich strong lonely busy hurt angry calm lost ready sick young".split())
"""What is said of one of them."""

# ---- topics and ambiguous words

TOPICS: dict[str, tuple[str, ...]] = {
    "water": ("boat", "river", "fish", "shore", "swim", "wet", "lake", "sail"),
    "money": ("loan", "pay", "cash", "price", "debt", "save", "cheap", "account"),
    "games": ("ball", "team", "goal", "score", "win", "player", "match", "coach"),
    "music": ("band", "sing", "drum", "concert", "piano", "dance", "tune", "choir"),
    "kitchen": ("oven", "pan", "bake", "spoon", "salt", "dinner", "taste", "boil"),
    "sky": ("cloud", "wind", "moon", "fly", "storm", "wing", "sun", "high"),
    "law": ("judge", "court", "crime", "prison", "guilty", "police", "trial", "thief"),
    "school": ("class", "pupil", "exam", "lesson", "read", "desk", "grade", "learn"),
}
"""Eight words a topic: they are what makes a sentence one of that topic."""
AMBIGUOUS: dict[str, tuple[str, str]] = {
    "bank": ("water", "money"),
    "pitch": ("games", "music"),
    "bat": ("games", "sky"),
    "note": ("music", "money"),
    "bar": ("music", "law"),
    "plate": ("kitchen", "games"),
    "sentence": ("law", "school"),
    "wave": ("water", "sky"),
    "bill": ("money", "law"),
    "star": ("sky", "music"),
    "roll": ("kitchen", "school"),
    "fan": ("games", "sky"),
    "bowl": ("kitchen", "games"),
    "paper": ("school", "law"),
    "current": ("water", "money"),
    "beat": ("kitchen", "music"),
}
"""Words with two senses, each of a topic."""
