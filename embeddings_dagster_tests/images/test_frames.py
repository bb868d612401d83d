from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.images import frames

HEADERS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "bodies"), st.text() | st.integers() | st.booleans()
)


@given(st.lists(st.tuples(HEADERS, st.lists(st.binary(max_size=50), max_size=3)), max_size=4))
def test_messages_arrive_as_they_were_sent_one_after_the_other(messages: list) -> None:
    stream = BytesIO()
    for header, bodies in messages:
        frames.send(stream, header, *bodies)
    stream.seek(0)
    assert [frames.receive(stream) for _ in messages] == messages
    assert stream.read() == b""


def test_a_message_that_is_cut_off_anywhere_is_no_message() -> None:
    stream = BytesIO()
    frames.send(stream, {"do": "probe"}, b"pixels")
    whole = stream.getvalue()
    for length in range(len(whole)):
        with pytest.raises(EOFError, match="the other side is gone"):
            frames.receive(BytesIO(whole[:length]))
