"""Attention on past and new keys side by side equals attention on the cache that both make."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.appended_attention import rewrite
from tests.unit.engines.lowering.primitive_graphs import TOLERANCES, lowered, ops, parsed, run

CACHED = """
attention (float[B,4,S,16] q, float[B,2,S,16] k, float[B,2,S,16] v, float[B,2,C,16] past_key,
    float[B,2,C,16] past_value, int64[B] past_lengths)
    => (float[B,4,S,16] y, float[B,4,S,16] z, float[B,2,C,16] present_key_0,
    float[B,2,C,16] present_value_0, float[B,2,C,16] present_key_1, float[B,2,C,16] present_value_1)
<int64[1] zero = {0}>
{
    shape = Shape <start = 2, end = 3> (q)
    new = Squeeze (shape, zero)
    lengths = Add (past_lengths, new)
    k0 = Neg (k)
    v0 = Neg (v)
    k1 = Mul (k, k)
    v1 = Mul (v, v)
    [sk] present_key_0 = TensorScatter <axis = 2> (past_key, k0, past_lengths)
    [sv] present_value_0 = TensorScatter <axis = 2> (past_value, v0, past_lengths)
    [a] y = Attention <is_causal = 1> (q, present_key_0, present_value_0, , , , lengths)
    present_key_1 = TensorScatter <axis = 2> (past_key, k1, past_lengths)
    present_value_1 = TensorScatter <axis = 2> (past_value, v1, past_lengths)
    [b] z = Attention <is_causal = 1, scale = 0.4> (q, present_key_1, present_value_1, , , , lengths)
}
"""
UNGROUPED = CACHED.replace("B,2,", "B,4,")
CAPACITY = 20


def feeds(lengths: list[int], new: int, heads: int = 2, dtype: str = "float") -> dict[str, np.ndarray]:  # fmt: skip
    rng = np.random.default_rng(new)
    wanted = np.float16 if dtype == "float16" else np.float32
    shapes = {"q": (4, new), **dict.fromkeys("kv", (heads, new))}
    shapes |= dict.fromkeys(("past_key", "past_value"), (heads, CAPACITY))
    made = {
        name: rng.normal(size=(len(lengths), count, size, 16)).astype(wanted)
        for name, (count, size) in shapes.items()
    }
    return {**made, "past_lengths": np.array(lengths)}


def close(found: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    largest = float(np.abs(expected).max())
    assert found.dtype == expected.dtype
    assert np.isfinite(largest)
    np.testing.assert_allclose(
        found.astype(np.float64), expected, rtol=0, atol=TOLERANCES[dtype] * largest
    )


def test_the_nodes() -> None:
    """Both layers share one mask, keys are not repeated, and no cache update is left: one product each
    reads past keys and past values."""
    model = lowered(CACHED, rewrite, "float16")
    found = ops(model)
    assert (found["Where"], found["Expand"], found["Tile"], found["Softmax"]) == (1, 0, 0, 2)
    assert found["MatMul"] == 8
    (choice,) = (n for n in model.graph if n.op_type == "Where")
    values = [v.const_value.numpy().item() for v in choice.inputs[1:] if v and v.const_value]
    assert values == [0.0, np.finfo(np.float16).min]
    assert [use.node.op_type for use in choice.outputs[0].uses()] == ["Add", "Add"]
    names = [value.name for value in model.graph.outputs]
    assert names == ["y", "z", "new_key_0", "new_value_0", "new_key_1", "new_value_1"]
    readers = [use.node.op_type for use in model.graph.inputs[3].uses()]
    assert sorted(r for r in readers if r not in ("Shape", "TensorScatter")) == ["Transpose"] * 2
    assert [use.node.op_type for use in model.graph.inputs[4].uses()].count("MatMul") == 2


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("text", [CACHED, UNGROUPED])
@pytest.mark.parametrize(
    ("lengths", "new"),
    [([0, 0], 6), ([0, 15, 4], 5), ([0, 19, 7], 1), ([3], 3), ([CAPACITY - 8, 2], 8), ([0], CAPACITY)],
)  # fmt: skip
def test_the_values_stay(dtype: str, text: str, lengths: list[int], new: int) -> None:
    """Prefill, windows after pasts of different lengths (or none), single steps and full caches keep
    their values. The returned rows are those that the cache receives."""
    given = feeds(lengths, new, 2 if text is CACHED else 4, dtype)
    before, after = run(parsed(text, dtype), given), run(lowered(text, rewrite, dtype), given)
    for expected, found in zip(before[:2], after[:2], strict=True):
        close(found, expected, dtype)
    for present, rows in zip(before[2:], after[2:], strict=True):
        for row, length in enumerate(lengths):
            np.testing.assert_array_equal(present[row, :, length : length + new], rows[row])


def test_what_lies_behind_a_row_does_not_matter() -> None:
    """Masked positions, a stale draft or padding, have weight zero however large their values are."""
    model, results = lowered(CACHED, rewrite), []
    for rubbish in (0.0, 1e6):
        given = feeds([3, 9, 0], 2)
        for name in ("past_key", "past_value"):
            for row, length in enumerate((3, 9, 0)):
                given[name][row, :, length:] = rubbish
        results.append(run(model, given)[:2])
    for zero, enormous in zip(*results, strict=True):
        np.testing.assert_array_equal(zero, enormous)


def test_unwritten_positions_must_be_finite() -> None:
    """A weight of zero times NaN is NaN, which is why the runtime zeroes a new cache."""
    given = feeds([3], 2)
    given["past_value"][0, :, 3:] = np.nan
    assert np.isnan(run(lowered(CACHED, rewrite), given)[0]).all()


def test_a_new_token_sees_none_after_it() -> None:
    """Changing the last new token changes its own result and no earlier one."""
    model, given = lowered(CACHED, rewrite), feeds([7, 0], 4)
    first = run(model, given)[0]
    for name in "kv":
        given[name][:, :, -1] += 1
    second = run(model, given)[0]
    np.testing.assert_array_equal(first[:, :, :-1], second[:, :, :-1])
    assert (first[:, :, -1] != second[:, :, -1]).any()


def test_float16_does_not_overflow() -> None:
    """Products of 16 times 60 times 70 exceed float16's 65,504 unless they are scaled beforehand."""
    given = feeds([4, 12], 3, dtype="float16")
    given["q"][:], given["k"][:], given["past_key"][:] = 60, -70, 70
    before, after = run(parsed(CACHED, "float16"), given), run(lowered(CACHED, rewrite, "float16"), given)  # fmt: skip
    close(after[0], before[0], "float16")


def test_softmax_precision() -> None:
    """With softmax_precision, softmax computes in that type and its weights return to the inputs' type."""
    text = CACHED.replace("is_causal = 1>", "is_causal = 1, softmax_precision = 1>")
    assert ops(lowered(text, rewrite, "float16"))["Cast"] == 2
    given = feeds([3, 9], 2, dtype="float16")
    close(run(lowered(text, rewrite, "float16"), given)[0], run(parsed(text, "float16"), given)[0], "float16")  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<is_causal = 1>", "<is_causal = 0>", "it is not causal, or has no cache with lengths"),
        ("<is_causal = 1>", "<is_causal = 1, softcap = 3.0>", "Attention has the attribute softcap = 3.0"),
        ("[sk] present_key_0 = TensorScatter <axis = 2>", '[sk] present_key_0 = TensorScatter <mode = "circular">', "TensorScatter has the attribute mode = circular"),
        ("(past_key, k0, past_lengths)", "(past_key, k0)", "the cache is written without write indices"),
        ("present_value_0, , , , lengths)", "present_value_0, , , , past_lengths)", "'past_lengths' comes from no node, not from Add"),
        ("present_key_0", "kept", "'kept' is not an output present_*"),
        ("v1 = Mul (v, v)", "v1 = Mul (v, v)\n    seen = Shape (present_value_0)", "'present_value_0' is read elsewhere"),
    ],
)  # fmt: skip
def test_others_are_left(old: str, new: str, reason: str) -> None:
    model = parsed(CACHED.replace(old, new))
    outcome = rewrite(model)
    assert (outcome.changed, outcome.left) == (1, (f"a: {reason}",))
    assert ops(model)["Attention"] == 1


def test_a_quantised_cache_is_left() -> None:
    """A quantised cache is left alone: it holds integers, so no float cache lies beside the new rows."""
    text = """
    attention (float[B,4,S,16] q, float[B,4,S,16] k, int8[B,4,C,16] past_key, int64[B] past_lengths)
        => (float[B,4,S,16] y, int8[B,4,C,16] present_key_0)
    <float[1,4,1,16] scale = {SCALES}, float one = {1}, int8 none = {0}, int64[1] zero = {0}>
    {
        shape = Shape <start = 2, end = 3> (q)
        new = Squeeze (shape, zero)
        lengths = Add (past_lengths, new)
        divided = Div (k, scale)
        counts = QuantizeLinear (divided, one, none)
        present_key_0 = TensorScatter <axis = 2> (past_key, counts, past_lengths)
        read = DequantizeLinear (present_key_0, one, none)
        keys = Mul (read, scale)
        [a] y = Attention <is_causal = 1> (q, keys, keys, , , , lengths)
    }
    """
    model = parsed(text.replace("SCALES", ",".join(["0.5"] * 64)))
    assert rewrite(model).left == ("a: its cache is quantised",)
