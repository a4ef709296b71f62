"""What is told of batches before they are computed: the largest there can be, and which are of one shape."""

from dataclasses import replace
from types import SimpleNamespace

from zobench.tasks.batch import collate
from zobench.tasks.encode import Encoded, Row
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.replayable import replayable


def example(*rows, gold=0):
    return Encoded(tuple(Row(tuple(range(1, n + 1)), option) for n, option in rows), gold, (gold,), (), "")


def test_the_largest_batch_is_of_the_largest_of_each():
    """Tokens with what rows have in common once, tokens of answers, and tokens of rows padded to the longest."""
    task = SimpleNamespace(_train=[example((10, 2), (11, 3)), example((7, 1)), example((9, 4), (9, 4), (9, 4))])
    # with common tokens once: 11 - 3 + 5 = 13, 7, 9 - 4 + 12 = 17; answers 5, 1, 12; rows 2, 1, 3
    assert PreparedTask.largest_batch(task, 1) == (17, 12, 11 * 3)
    assert PreparedTask.largest_batch(task, 2) == (30, 17, 11 * 5)
    assert PreparedTask.largest_batch(task, 9) == (37, 18, 11 * 6)


def test_what_is_replayed_has_the_same_shapes_and_the_same_rows_of_each_example():
    batch = collate([example((6, 2), (7, 2)), example((6, 1), (5, 2))], 0, packed=1)

    def key(of):
        return replayable(None, None, lambda call, batch: None, of).key

    assert key(batch) == key(replace(batch, labels=1 - batch.labels)), "what it holds is given anew"
    assert key(batch) != key(replace(batch, num_options=(3, 1))), "a loss goes by them"
    assert key(batch) != key(replace(batch, option_len=batch.option_len.repeat(2)))
