"""The claims of a node, as a pure value."""

from jobd.engine.claims import HeldClaims


def held() -> HeldClaims:
    claims = HeldClaims({})
    claims.add(1, 10, "default")
    claims.add(2, 20, "reports")
    claims.add(3, 30, "default")
    return claims


def test_a_claim_is_released_only_with_its_own_token() -> None:
    claims = held()
    claims.release(1, 9)
    assert claims.token(1) == 10
    claims.release(1, 10)
    assert (1 in claims, claims.token(1)) == (False, 0)
    claims.release(1, 10)
    assert claims.tokens() == {2: 20, 3: 30}
    assert claims.count("default") == 1


def test_a_newer_claim_of_a_job_replaces_the_older_and_survives_its_release() -> None:
    claims = held()
    claims.add(1, 11, "reports")
    claims.release(1, 10)
    assert claims.tokens() == {1: 11, 2: 20, 3: 30}
    assert (claims.count("default"), claims.count("reports")) == (1, 2)


def test_claims_are_counted_by_pool() -> None:
    claims = held()
    assert [claims.count(pool) for pool in ("default", "reports", "other")] == [2, 1, 0]
    assert claims.count_of({1, 2, 4}, "default") == 1
    claims.clear()
    assert (claims.count("default"), claims.tokens()) == (0, {})


def test_a_claim_that_is_lost_is_released_and_its_start_is_kept_for_the_comparison_with_the_table() -> None:
    claims = held()
    claims.lose(1, 10, 5_000)
    claims.lose(2, 19, None)  # an older claim of the job, which had not started
    assert claims.tokens() == {2: 20, 3: 30}
    assert claims.uncertain
    assert claims.known_starts == {(1, 10): 5_000}
    claims.compared()
    assert claims.known_starts == {}
