"""Sentences of the small world read back as facts, whatever they were drawn by; documents and items, made once."""

import functools
import re
from random import Random

from zobench_world import text
from zobench_world.lexicon import DENIED, KNOWN, NAMES, OPEN, RELATIONS
from zobench_world.tasks import task_data
from zobench_world.world import Fact

DOCUMENTS = 4000
VALUES = {value for relation in RELATIONS.values() for value in relation.values}


def _read(forms):
    """Every sentence that `forms(relation)` can make, with the fact that it is made of."""
    out = {}
    for person in NAMES:
        for name, relation in RELATIONS.items():
            for value in relation.values:
                for form in forms(relation):
                    out.setdefault(form.format(p=person, v=value), set()).add(Fact(person, name, value))
    return out


SAYS = _read(lambda relation: relation.says)
CLAIMS = _read(lambda relation: relation.claims)
DOUBTS = _read(lambda relation: (relation.doubt,))
TURNED = _read(lambda relation: (relation.turned,))
ASKS = {
    form.format(p=person): (person, name)
    for person in NAMES
    for name, relation in RELATIONS.items()
    for form in relation.asks
}


def only(found):
    """The one member."""
    (one,) = found
    return one


def sentences(passage):
    return re.findall(r"[^.]+\.", passage.replace(". ", "."))


def told(passage):
    """The facts of a passage, in its order."""
    return [only(SAYS[line]) for line in sentences(passage)]


def claimed(claim, forms=CLAIMS):
    """The fact of a clause, or of the sentence made of it."""
    clause = claim.removesuffix(".")
    return only(forms[clause] if clause in forms else forms[clause[0].lower() + clause[1:]])


def all_claimed(claim, forms=CLAIMS):
    """The facts of a clause that may be two, joined by "and"."""
    return [claimed(part, forms) for part in claim.removesuffix(".").split(" and ")]


def words(of):
    """Its words, without marks."""
    return re.findall(r"\w+", of)


def joined(pieces):
    return "".join(part for part, _ in pieces)


@functools.cache
def documents():
    """Documents from all of training, as pieces: of each of its four cycles as many."""
    rng = Random("documents of the tests")
    return tuple(tuple(text.document(rng, 4 * i / DOCUMENTS)) for i in range(DOCUMENTS))


# ---- items of the tasks


@functools.cache
def data(name):
    train, validation, _ = task_data(name)
    return train, validation


def items(name):
    train, validation = data(name)
    return [*train, *validation]


def verb_kind(sentence):
    """What the verb of a report says of its clause, as CB's label."""
    kinds = enumerate((KNOWN, DENIED, OPEN))
    return only([label for label, verbs in kinds if any(f" {verb} that " in sentence for verb in verbs)])
