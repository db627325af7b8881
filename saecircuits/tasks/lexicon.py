"""The words of the shipped tasks: few, frequent in children's stories, one token each.

The words that a task is *about* are kept to a handful, because each of them costs a circuit nodes
of its own. Variety comes from the words around them, which are the same in both prompts of a pair.
"""

GIRLS = ("Lily", "Sue", "Anna", "Mia")
BOYS = ("Tom", "Tim", "Ben", "Max")
PEOPLE = ("Lily", "Sue", "Anna", "Tom", "Tim", "Ben")

SUBJECTS = {"dog": "dogs", "cat": "cats", "bird": "birds", "girl": "girls", "boy": "boys"}
"""Nouns that agree with a verb: singular to plural."""
NEIGHBOURS = {"tree": "trees", "car": "cars", "flower": "flowers"}
"""Nouns that come between a subject and its verb: singular to plural."""
OBJECTS = ("ball", "hat", "cup", "book", "cake", "kite")
LISTED = ("ball", "cup", "hat", "fish", "duck", "book", "star", "car")

COLOURS = ("red", "blue", "green")
QUALITIES = ("big", "small", "new", "pretty")
MANNERS = ("big", "small", "good", "nice", "little", "kind", "happy", "sad")
PLACES = ("park", "shop", "beach", "school", "garden", "house", "farm", "zoo")
PREPOSITIONS = ("near", "behind", "beside", "under", "with", "by")

TIMES = (
    "One day,",
    "Today,",
    "Then,",
    "Later,",
    "Soon,",
    "One morning,",
    "That night,",
    "At last,",
    "Once,",
    "After lunch,",
)
SETTINGS = (*TIMES, *(f"{where} the {place}," for where in ("At", "Near") for place in PLACES))
"""What may begin a sentence without saying anything about its subject."""
