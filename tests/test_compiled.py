"""The cache of compiled functions: how often it traces is counted by a Python side effect."""

import threading
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from metalfaiss.faissmlx.compiled import CompiledCache, compiled


class Counted:
    """A function of one array that counts how often it is traced."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, x: mx.array, *, scale: float = 2, stream: object = None) -> mx.array:
        self.traces += 1
        return mx.add(mx.multiply(x, scale, stream=stream), 1, stream=stream)


@pytest.fixture
def cache() -> CompiledCache:
    return CompiledCache(maxsize=8)


@pytest.fixture
def fn() -> Counted:
    return Counted()


def test_one_trace_however_often_called_and_rebuilt(fn: Counted, cache: CompiledCache) -> None:
    for i in range(5):
        out = compiled(fn, cache=cache)(mx.full((3, 4), i))
        np.testing.assert_array_equal(np.array(out), np.full((3, 4), 2 * i + 1))
    assert fn.traces == 1
    assert cache.info() == (4, 1, 8, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda f: f(mx.ones((3, 4))), lambda f: f(mx.ones((4, 3)))),
        (lambda f: f(mx.ones(3)), lambda f: f(mx.ones(3, dtype=mx.float16))),
        (lambda f: f(mx.ones(3)), lambda f: f(mx.ones(3), scale=3)),
        (lambda f: f(mx.ones(3), scale=1), lambda f: f(mx.ones(3), scale=1.0)),
        (lambda f: f(mx.ones(3), scale=1), lambda f: f(mx.ones(3), scale=True)),
    ],
    ids=["shape", "dtype", "setting", "int-float", "int-bool"],
)
def test_a_trace_for_each_key(
    first: Callable[[object], mx.array], second: Callable[[object], mx.array], fn: Counted, cache: CompiledCache
) -> None:
    step = compiled(fn, cache=cache)
    for _ in range(2):
        mx.eval(first(step), second(step))
    assert fn.traces == 2


def test_device_and_its_default_stream_are_one_key(fn: Counted, cache: CompiledCache) -> None:
    step = compiled(fn, cache=cache)
    mx.eval(step(mx.ones(3), stream=mx.cpu), step(mx.ones(3), stream=mx.default_stream(mx.cpu)))
    mx.eval(step(mx.ones(3), stream=mx.Device(mx.cpu, 0)))
    assert fn.traces == 1


def test_stream_is_part_of_the_key(fn: Counted, cache: CompiledCache) -> None:
    step = compiled(fn, cache=cache)
    default, given = mx.new_stream(mx.cpu), mx.new_stream(mx.cpu)
    for _ in range(2):
        mx.eval(step(mx.ones(3)))
        mx.eval(step(mx.ones(3), stream=given))
        with mx.stream(default):
            mx.eval(step(mx.ones(3)))
    assert fn.traces == 3


def test_functions_do_not_share_entries(cache: CompiledCache) -> None:
    one, two = Counted(), Counted()
    mx.eval(cache(one, mx.ones(3)), cache(two, mx.ones(3)))
    assert (one.traces, two.traces) == (1, 1)


def test_nested_settings(fn: Counted, cache: CompiledCache) -> None:
    def total(x: mx.array, *, weights: list[float]) -> mx.array:
        return sum(fn(x, scale=w) for w in weights)

    step = compiled(total, cache=cache)
    assert step(mx.ones(1), weights=[1.0, 2.0]).item() == 5
    assert step(mx.ones(1), weights=[1.0, 3.0]).item() == 6
    assert step(mx.ones(1), weights=[1.0, 2.0]).item() == 5
    assert cache.info().misses == 2


def test_shapeless_traces_once_for_all_shapes_of_a_rank(fn: Counted, cache: CompiledCache) -> None:
    step = compiled(fn, shapeless=True, cache=cache)
    for shape in ((2, 3), (5, 4), (1, 7)):
        np.testing.assert_array_equal(np.array(step(mx.ones(shape))), np.full(shape, 3))
    assert fn.traces == 1
    step(mx.ones(3))
    assert fn.traces == 2


def test_least_recently_used_entry_is_dropped(fn: Counted) -> None:
    cache = CompiledCache(maxsize=2)
    for size in (1, 2, 1, 3):  # 2 is the oldest when 3 comes
        mx.eval(cache(fn, mx.ones(size)))
    assert (fn.traces, cache.info().currsize) == (3, 2)
    mx.eval(cache(fn, mx.ones(1)), cache(fn, mx.ones(3)))
    assert fn.traces == 3
    mx.eval(cache(fn, mx.ones(2)))
    assert fn.traces == 4


def test_dropping_an_entry_keeps_the_traces_of_the_others(fn: Counted) -> None:
    cache, small = CompiledCache(), CompiledCache(maxsize=1)
    mx.eval(cache(fn, mx.ones(3)))
    mx.eval(small(fn, mx.ones(3)), small(fn, mx.ones(4)))  # the second drops the first, of the same function
    assert fn.traces == 3
    mx.eval(cache(fn, mx.ones(3)))
    assert fn.traces == 3


def test_clear(fn: Counted, cache: CompiledCache) -> None:
    mx.eval(cache(fn, mx.ones(3)))
    cache.clear()
    assert cache.info() == (0, 0, 8, 0)
    mx.eval(cache(fn, mx.ones(3)))
    assert fn.traces == 2


def test_threads_each_trace_once(fn: Counted, cache: CompiledCache) -> None:
    wrong: list[object] = []

    def work(value: int) -> None:
        try:
            for _ in range(20):
                if compiled(fn, cache=cache)(mx.full((2,), value)).tolist() != [2 * value + 1] * 2:
                    wrong.append(value)
            if cache.info().misses != 1:
                wrong.append(cache.info())
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert fn.traces == 6
    assert cache.info().misses == 0  # this thread has compiled nothing


def test_within_other_transformations(fn: Counted, cache: CompiledCache) -> None:
    step = compiled(fn, cache=cache)
    x = mx.array([1.0, 2.0])
    assert mx.compile(lambda x: step(step(x)))(x).tolist() == [7, 11]
    assert mx.grad(lambda x: step(x).sum())(x).tolist() == [2, 2]
    assert mx.vmap(step)(x[None]).tolist() == [[3, 5]]
    value, gradient = mx.compile(mx.value_and_grad(lambda x: step(x).sum()))(x)
    assert (value.item(), gradient.tolist()) == (8, [2, 2])
    assert step(x).tolist() == [3, 5]


def test_errors(fn: Counted, cache: CompiledCache) -> None:
    with pytest.raises(TypeError, match=r"\[compiled\] Positional arguments must be arrays.*Received <class 'int'>"):
        compiled(fn, cache=cache)(3)
    with pytest.raises(TypeError, match="unhashable"):
        compiled(fn, cache=cache)(mx.ones(3), scale={1, 2})
    with pytest.raises(ValueError, match=r"maxsize must be at least 1. Received 0"):
        CompiledCache(maxsize=0)
    assert cache.info().currsize == 0


def test_an_error_while_tracing_leaves_a_working_cache(cache: CompiledCache) -> None:
    def fails_once(x: mx.array) -> mx.array:
        calls.append(1)
        if len(calls) == 1:
            raise ArithmeticError
        return x + 1

    calls: list[int] = []
    with pytest.raises(ArithmeticError):
        cache(fails_once, mx.ones(1))
    assert cache(fails_once, mx.ones(1)).item() == 2
