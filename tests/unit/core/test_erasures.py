"""Erasures: what is kept of a person's id, and how an erasure goes through the shards."""

import pytest

from shared.core.erasures import PHASES, Erasure, Phase, Wanted, subject_tag, subjects_of
from shared.core.ids import SHARDS

ID = "resp_0123456789abcdef0123456789abcdef"
ANNA = subject_tag("ann", "user", "anna@example.com")


def test_what_is_kept_of_a_person_is_a_hash_of_the_caller_the_field_and_the_value() -> None:
    """So the same person has other tags with another caller, and in another field."""
    tags = {subject_tag(*one) for one in (("a", "user", "x"), ("b", "user", "x"), ("a", "safety_identifier", "x"))}
    assert len(tags) == 3
    assert all(len(tag) == 16 for tag in tags)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"user": "anna@example.com", "safety_identifier": "s-1", "input": "x"}, {"user", "safety_identifier"}),
        ({"user": "anna@example.com"}, {"user"}),
        ({"user": ""}, set()),
        ({"user": 5, "safety_identifier": None}, set()),
        ({}, set()),
    ],
)
def test_the_ids_of_a_person_are_read_from_a_request(body: dict[str, object], fields: set[str]) -> None:
    """What is no text is the upstream's to refuse."""
    assert subjects_of(body, "ann").keys() == fields


@pytest.mark.parametrize(
    ("wanted", "subjects", "has"),
    [
        (Wanted(), None, True),
        (Wanted(), {"user": ANNA}, True),
        (Wanted(user=ANNA), {"user": ANNA, "safety_identifier": "x"}, True),
        (Wanted(user=ANNA), {"user": "another"}, False),
        (Wanted(user=ANNA), None, False),
        (Wanted(user=ANNA, safety_identifier="s"), {"user": ANNA}, False),
    ],
)
def test_all_subjects_that_are_wanted_must_be_there(wanted: Wanted, subjects: dict[str, str] | None, has: bool) -> None:
    """Without one that is wanted, every response is."""
    assert wanted.has_subjects(subjects) is has


def test_an_erasure_goes_through_each_shard_in_each_phase() -> None:
    """Each part begins at its beginning."""
    erasure, seen = Erasure(ID, "ann", "ann", 5, after="x"), []
    while not erasure.is_through:
        seen.append((SHARDS[erasure.shard], erasure.phase))
        erasure = erasure.next_part()
        assert erasure.after == ""
    assert seen == [(shard, phase) for shard in SHARDS for phase in PHASES]
    assert PHASES == (Phase.UNLISTED, Phase.LIVE, Phase.ENDED)
