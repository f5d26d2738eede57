"""Packets written without the JSON encoder have the same meaning as with it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobd.wire import Done, Order, decode, decode_done, decode_order, encode, encode_done, encode_order

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NUMBER = st.integers(0, 2**63 - 1)
ORDERS = st.builds(
    Order,
    serial=NUMBER,
    job=TEXT,
    number=NUMBER,
    task=st.none() | TEXT,
    command=st.none() | st.lists(TEXT, min_size=1, max_size=3),
    args=st.dictionaries(TEXT, VALUES, max_size=3),
    due=NUMBER,
    attempt=NUMBER,
    deadline=st.none() | st.floats(0, 1e12),
    token=NUMBER,
)


@given(ORDERS)
def test_an_order_arrives_as_it_was_given(order: Order) -> None:
    assert decode_order(decode(encode_order(order))) == order
    assert json.loads(encode_order(order)) == ["run", *order]


@given(NUMBER, st.sampled_from(["succeeded", "failed", "unresolved"]), st.none() | TEXT, st.none() | TEXT, st.data())
def test_an_end_message_arrives_as_it_was_sent(
    serial: int, outcome: str, error: Any, result: Any, data: st.DataObject
) -> None:
    retire, secret = data.draw(st.booleans()), "0123456789abcdef" * 2
    packet = encode_done(serial, outcome, error, result, retire, secret)
    assert packet == encode("done", serial, outcome, error, result, retire, secret)
    assert decode_done(decode(packet)) == Done(
        outcome, error and error[:2_000], result and result[:4_096], retire, secret, serial
    )
