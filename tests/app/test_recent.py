from __future__ import annotations

import pytest

from app.recent import Recent


def test_the_same_question_is_asked_once_within_the_time_and_others_are_asked():
    now, asked = [0.0], []
    recent = Recent(1.0, most=2, clock=lambda: now[0])

    def ask(*question):
        asked.append(question)
        return len(asked)

    assert [recent(ask, "a"), recent(ask, "a"), recent(ask, "b")] == [1, 1, 2]
    now[0] = 1.5
    assert recent(ask, "a") == 3
    assert recent(ask, "c") == 4  # forgets "b", the oldest
    assert (recent(ask, "a"), recent(ask, "b")) == (3, 5)


def test_an_error_is_not_remembered():
    recent = Recent(1.0)
    with pytest.raises(ZeroDivisionError):
        recent(lambda x: 1 / x, 0)
    assert recent(lambda x: x, 0) == 0
