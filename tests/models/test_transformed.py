"""A model whose blocks put out something else: known answers, however rows are laid out."""

from types import SimpleNamespace

import pytest
import torch
from kits.families import save_family

from zobench import ZobenchError
from zobench.models.activations import block_activations
from zobench.models.forward import Forward
from zobench.models.load import load_model
from zobench.models.massive import massive_activation
from zobench.models.outliers import choose_block
from zobench.models.start_at_block import Cut
from zobench.models.transformed import _hook, first_tokens, transformed
from zobench.models.trial import InBins, Padded, apart, centred, limit, rows_for
from zobench.plugins.registry import load_plugins
from zobench.plugins.transforms import made_of, told

KINDS = ("llama", "gpt2", "opt", "gpt_neox", "gemma", "xglm")
"""Places told or not, counted from the mask, learnt ones, from the left edge; blocks that put out tuples."""
PLUGINS = load_plugins(only="")


@pytest.fixture(scope="module", params=KINDS)
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_family(request.param, folder)
    return load_model(str(folder), device="cpu", offline=True)


def by_hand(loaded, row, change):
    """What the plain model says of a row alone whose hidden states before the last block are changed by `change`."""
    cut, ids = Cut(loaded.blocks, len(loaded.blocks) - 1), torch.tensor([row])
    with cut.seen() as seen, torch.no_grad():
        loaded.model(input_ids=ids, use_cache=False)
    stream = seen[0].clone()
    change(stream[0])
    with cut.given(lambda: stream), torch.no_grad():
        return centred(loaded.model(input_ids=ids, use_cache=False).logits)[0]


def plant(stream):
    stream[0, 3] = 40.0


def clamp(stream):
    stream[:, 5] = stream[:, 5].clamp(-0.25, 0.25)


def both(stream):
    plant(stream)
    clamp(stream)


CHANGES = {"plant:1:3:40": plant, "clamp:1:5:0.25": clamp, "plant:1:3:40+clamp:1:5:0.25": both}


@torch.no_grad()
@pytest.mark.parametrize("said", CHANGES)
def test_every_layout_of_rows_says_what_is_worked_out_by_hand(loaded, said):
    """Rows alone, padded, packed, two copies side by side, and token by token from what was said before."""
    rows, can = rows_for(loaded), loaded.capabilities
    want = [by_hand(loaded, row, CHANGES[said]) for row in rows]
    plain, most = Forward.of(loaded), limit(torch.float32, can.noise)
    assert apart([centred(plain.rows(torch.tensor([rows[0]])))[0]], want[:1], torch.float32) > 1e-3
    with transformed(loaded, made_of(said, PLUGINS)):
        forward = Forward.of(loaded)
        alone = [centred(forward.rows(torch.tensor([row])))[0] for row in rows]
        assert apart(alone, want, torch.float32) <= most
        padded = Padded.of(rows, loaded)
        assert apart(padded.said(forward), want, torch.float32) <= most
        if can.padding != "seen":
            assert apart(padded.said(forward, 2), want * 2, torch.float32) <= most
        if can.packs:
            assert apart(InBins.of(rows, loaded).said(forward), want, torch.float32) <= most
        if can.cache is not None:
            part = padded if can.padding != "seen" else Padded.of(rows[-1:], loaded)
            mask = part.mask if can.padding != "seen" else None
            _, past = forward.next(part.ids[:, :-2], None if mask is None else mask[:, :-2], None)
            for left in (1, 0):
                end = part.ids.shape[1] - left
                known = None if mask is None else mask[:, :end]
                got, past = forward.next(part.ids[:, :end], known, past)
                picked = [one[len(one) - 1 - left] for one in want[-len(part.ids) :]]
                assert apart(list(centred(got)[:, None]), [one[None] for one in picked], torch.float32) <= most
    assert not any(block.module._forward_hooks for block in loaded.blocks)
    assert apart([centred(plain.rows(torch.tensor([rows[0]])))[0]], want[:1], torch.float32) > 1e-3


@torch.no_grad()
def test_the_last_block_is_changed_where_only_some_places_are_looked_at(loaded):
    """Its stand-in, which puts out some tokens alone, gives way to the block itself."""
    rows, last = rows_for(loaded), len(loaded.blocks) - 1
    if not loaded.capabilities.packs:
        pytest.skip("rows cannot be packed")
    with transformed(loaded, made_of(f"plant:{last}:3:9", PLUGINS)):
        forward = Forward.of(loaded)
        alone = [centred(forward.rows(torch.tensor([row])))[0] for row in rows]
        said = InBins.of(rows, loaded).said(forward)
    assert apart(said, alone, torch.float32) <= limit(torch.float32, loaded.capabilities.noise)
    plain = [centred(Forward.of(loaded).rows(torch.tensor([row])))[0] for row in rows]
    assert all(float((a[0] - b[0]).abs().max()) > 1e-3 for a, b in zip(alone, plain, strict=True))
    assert all(torch.equal(a[1:], b[1:]) for a, b in zip(alone, plain, strict=True)), "nothing follows the last block"


def test_gradients_pass(loaded):
    """Through a clamp that does not bind, and none to what lies under a planted token's channel."""
    ids = torch.tensor([rows_for(loaded)[-1]])
    entered = []
    below = loaded.blocks[0].module

    def leaf(module, args, output):
        stream = output[0] if isinstance(output, tuple) else output
        entered.append(stream.detach().requires_grad_())
        return (entered[0], *output[1:]) if isinstance(output, tuple) else entered[0]

    hook = below.register_forward_hook(leaf)
    with transformed(loaded, made_of("plant:0:3:2+clamp:0:5:0", PLUGINS)):
        loaded.model(input_ids=ids, use_cache=False).logits.logsumexp(-1).mean().backward()
    hook.remove()
    gradient = entered[0].grad[0]
    assert gradient[0, 3] == 0 and gradient[1, 3] != 0 and gradient[0, 4] != 0
    assert gradient[:, 5].abs().max() == 0 and torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({}, [[1, 0, 0, 0], [1, 0, 0, 0]]),
        ({"attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])}, [[0, 0, 1, 0], [1, 0, 0, 0]]),
        ({"attention_mask": torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])}, [[0] * 4, [0] * 4]),
        (
            {
                "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
                "position_ids": torch.tensor([[0, 0, 0, 1], [0, 1, 2, 3]]),
            },
            [[0, 0, 1, 0], [1, 0, 0, 0]],
        ),
        (
            {"attention_mask": torch.ones(2, 1, 4, 4), "position_ids": torch.tensor([[0, 1, 0, 1], [0, 1, 2, 0]])},
            [[1, 0, 1, 0], [1, 0, 0, 1]],
        ),
        ({"past_key_values": object()}, [[0] * 4, [0] * 4]),
    ],
)
def test_which_token_is_the_first(given, want):
    found = first_tokens({"input_ids": torch.zeros(2, 4, dtype=torch.int64), **given})
    assert found.int().tolist() == want


def test_a_stream_of_other_tokens_is_refused(loaded):
    class Longer:
        at = 0

        def output(self, stream, first):
            return stream.repeat(1, 2, 1)

    class Seen(Longer):
        def output(self, stream, first):
            return stream

    with transformed(loaded, [Longer(), Seen()]), pytest.raises(ZobenchError, match="cannot tell the tokens"):
        loaded.model(input_ids=torch.tensor([rows_for(loaded)[0]]), use_cache=False)


class Rows:
    """Texts of two lengths, padded on the left."""

    def __init__(self):
        torch.manual_seed(0)
        self.input_ids = torch.randint(5, 40, (4, 9))
        self.attention_mask = torch.ones(4, 9, dtype=torch.long)
        self.attention_mask[0, :3] = 0


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_automatic_forms_remove_and_move_the_massive_activation(tmp_path, kind):
    """A model with one of 400 in channel 3 from block 0 on: found, clamped as what else stands there, planted above."""
    save_family(kind, tmp_path)
    loaded = load_model(str(tmp_path), device="cpu", offline=True)
    last, given = len(loaded.blocks) - 1, [Rows(), Rows()]
    with transformed(loaded, made_of("plant:0:3:400", PLUGINS)):
        table = block_activations(loaded, given)
        found = massive_activation(loaded, given)
        assert found.block == 0 == choose_block(table)
        assert found.after[0].keys() == {3} and found.after[0][3].first == pytest.approx(400)
        assert 0 < found.after[0][3].most_else < 100 * table[0].median
        removed = made_of("clamp:auto", PLUGINS, lambda: found)
        assert told(removed[:1], PLUGINS) == f"clamp:0:3:{round(found.after[0][3].most_else, 6):.12g}"
        assert {one.at for one in removed} == set(found.after)
        with transformed(loaded, removed):
            assert choose_block(block_activations(loaded, given)) is None
        moved = made_of(f"clamp:auto+plant:{last}:auto", PLUGINS, lambda: found)
        assert {one.at for one in moved if type(one).__name__ == "Clamp"} == set(range(last))
        with transformed(loaded, moved):
            assert choose_block(block_activations(loaded, given)) == last
    assert massive_activation(loaded, given) is None


def test_what_a_block_puts_out_beside_its_stream_stays():
    """The other entries of a tuple: weights of attention, a cache."""
    change, firsts = (
        SimpleNamespace(at=1, output=lambda stream, first: -stream),
        SimpleNamespace(of=lambda stream: None),
    )
    stream, hook = torch.ones(1, 2, 3), _hook(change, firsts)
    made, *rest = hook(None, (), (stream, "weights", "cache"))
    assert torch.equal(made, -stream) and rest == ["weights", "cache"]
    assert torch.equal(hook(None, (), stream), -stream)
    for other in (("weights", stream), stream[0], None):
        with pytest.raises(
            ZobenchError, match=r"block 1 puts out no stream of \(rows, length, channels\) to transform"
        ):
            hook(None, (), other)
