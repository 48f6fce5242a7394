"""Credentials never come through masking, and what is none stays readable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.masking import MASK, is_secret_name, mask_headers, mask_text, mask_url

SECRET_NAMES = (
    "key", "api_key", "apikey", "apiKey", "API-KEY", "access_token", "token", "sig", "signature", "secret",
    "client_secret", "password", "passwd", "auth", "code", "X-Amz-Signature", "X-Amz-Credential",
    "X-Amz-Security-Token", "X-Goog-Signature", "AWSAccessKeyId", "Key-Pair-Id", "hapikey", "wskey", "jwt",
    "subscription-key", "authtoken", "sessionid", "api%5Fkey", "id_token",
)  # fmt: skip
PLAIN_NAMES = (
    "page", "limit", "q", "country_code", "status_code", "max_tokens", "tokens", "page_token", "pageToken",
    "nextPageToken", "continuation-token", "resumptionToken", "syncToken", "keyword", "keywords", "sort_key",
    "startkey", "monkey", "author", "design", "signal", "passenger", "compass", "since", "",
)  # fmt: skip
SECRET = "s3cr3tVALUE"


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_query_value_is_masked(name: str) -> None:
    """The value of every secret-looking field goes, its name and its neighbours stay."""
    assert mask_url(f"https://h/p?a=1&{name}={SECRET}&b=2#top") == f"https://h/p?a=1&{name}={MASK}&b=2#top"


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_plain_query_value_stays(name: str) -> None:
    """Fields that only resemble a secret keep their values, so that a URL still names its input."""
    url = f"https://h/p?{name}=v1"
    assert mask_url(url) == url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://ann:pw@h/x", "https://***@h/x"),
        ("https://ann@h/x", "https://***@h/x"),
        ("https://a:p@q@h/x", "https://***@h/x"),
        ("//ann:pw@h/x", "//***@h/x"),
        ("ann:pw@h/x", "***@h/x"),
        ("https://ann:pa/ss@h/x", "https://***@h/x"),
        ("https://ann:pa?ss@h/x", "https://***@h/x"),
        ("redis://:pw@[::1]:6379/0", "redis://***@[::1]:6379/0"),
        ("https://h/@me/pkg", "https://h/@me/pkg"),
        ("https://h:8080/@me", "https://h:8080/@me"),
        ("https://[::1]:8080/@me", "https://[::1]:8080/@me"),
        ("https://h/?to=a@b.example", "https://h/?to=a@b.example"),
        ("https://h/?u=http://a:b@c/", "https://h/?u=http://***@c/"),
        ("https://h/cb#access_token=abc&x=1", "https://h/cb#access_token=***&x=1"),
        ("https://h/?appid=440", "https://h/?appid=440"),
        ("https://h/?appid=0123456789abcdef0123456789abcdef", "https://h/?appid=***"),
        ("https://h/?key=", "https://h/?key="),
        ("https://h/?", "https://h/?"),
        ("", ""),
    ],
)
def test_urls(url: str, masked: str) -> None:
    """Userinfo goes in every form, well made or not; an at sign elsewhere is no userinfo."""
    assert mask_url(url) == masked


def test_a_url_without_secrets_is_returned_itself() -> None:
    """The common URL costs nothing: the same object comes back."""
    url = "https://api.example.com/items/1"
    assert mask_url(url) is url


def test_headers() -> None:
    """Credentials go, their scheme stays; counters of tokens and ordinary values stay."""
    pairs = [
        ("Authorization", f"Bearer {SECRET}"),
        ("authorization", SECRET),
        ("Proxy-Authorization", f"Basic {SECRET}"),
        ("Cookie", f"a={SECRET}"),
        ("Set-Cookie", f"a={SECRET}; Path=/"),
        ("X-Api-Key", SECRET),
        ("X-Goog-Api-Key", SECRET),
        ("X-Auth-Token", SECRET),
        ("PRIVATE-TOKEN", SECRET),
        ("Location", f"https://u:{SECRET}@h/?token={SECRET}"),
        ("Link", f'<https://h/?page=2&access_token={SECRET}>; rel="next"'),
        (b"X-Secret", SECRET.encode()),
        ("X-RateLimit-Remaining-Tokens", "149984"),
        ("Anthropic-RateLimit-Tokens-Remaining", "9"),
        ("Retry-After", "7"),
    ]
    masked = mask_headers(pairs)
    assert SECRET not in str(masked)
    assert [value for _, value in masked] == [
        "Bearer ***", MASK, "Basic ***", MASK, MASK, MASK, MASK, MASK, MASK,
        "https://***@h/?token=***", '<https://h/?page=2&access_token=***>; rel="next"', MASK, "149984", "9", "7",
    ]  # fmt: skip
    assert mask_headers({"X-Key": SECRET}) == [("X-Key", MASK)]


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"Authorization: Custom one two {SECRET}",
        f"{{'Authorization': 'Basic {SECRET}'}}",
        f'{{"api_key": "two words {SECRET}"}}',
        f"password={SECRET}, user=ann",
        f"password = '{SECRET}'",
        f"cannot connect to https://u:{SECRET}@h:1/?x=1",
        f"<https://h/?sig={SECRET}>",
        f"got Bearer {SECRET} instead",
        f"Cookie: a=1; b={SECRET}",
        f"sk-proj-{SECRET}",
        f"ghp_{SECRET}0123",
        f"invalid key: {SECRET}",
        f"x-api-key:{SECRET}",
    ],
)
def test_error_texts_lose_their_secrets(text: str) -> None:
    """A credential inside an error's text goes, in whichever form it stands there."""
    assert SECRET not in mask_text(text)
    assert MASK in mask_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Cannot connect to host h:80 ssl:default [Connect call failed ('127.0.0.1', 80)]",
        "error code: 404",
        "KeyError: 'retry'",
        "Basic authentication required",
        "token expired",
        "the key and the token",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1000)",
    ],
)
def test_plain_error_texts_stay(text: str) -> None:
    """What an error says of itself is not masked away."""
    assert mask_text(text) == text


@given(st.one_of(st.text(), st.binary(), st.none(), st.integers()))
def test_masking_never_raises_and_is_stable(value: object) -> None:
    """Whatever it is given, masking answers with text, and masking that again changes nothing."""
    for mask in (mask_url, mask_text):
        once = mask(value)
        assert isinstance(once, str)
        assert mask(once) == once
    assert len(mask_headers([(value, value)])) == 1


URL_PIECES = st.lists(
    st.sampled_from(
        ["http", "://", "//", "/", "?", "#", "&", "=", "@", ":", "key", "token", "a", "%6b", "'", '"', " "]
    )
).map("".join)


@given(URL_PIECES)
def test_masking_url_like_garbage_is_stable(text: str) -> None:
    """The same holds for strings made of a URL's own pieces."""
    assert mask_url(mask_url(text)) == mask_url(text)
    assert mask_text(mask_text(text)) == mask_text(text)


@given(st.text(alphabet="abc123XYZ-_.~", min_size=1), st.sampled_from(SECRET_NAMES), URL_PIECES)
def test_no_secret_survives_beside_garbage(secret: str, name: str, rest: str) -> None:
    """A secret field is masked whatever else stands in the query."""
    rest = rest.replace("#", "").replace("&", "")
    assert f"{name}=¤{secret}" not in mask_url(f"https://h/?{rest}&{name}=¤{secret}&{rest}")


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "key=",
        "key='",
        "://",
        "a://",
        "Bearer ",
        "token\t",
        "authorization:",
        "a://@",
        "&key=1",
        "eyJ.",
        "bearer\t",
    ],
)
def test_masking_is_linear(piece: str) -> None:
    """A hostile megabyte costs what a megabyte must: ten times the text, no more than forty times the time."""

    def spent(count: int) -> float:
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            mask_text(piece * count)
            mask_url("http://" + piece * count + "@")
            best = min(best, time.process_time() - begun)
        return best

    assert spent(20_000) < 40 * max(spent(2_000), 0.001)


def test_long_names_are_judged_by_their_end() -> None:
    """A name of any length is judged, by its last 64 characters."""
    assert is_secret_name("x" * 10_000 + "_api_key")
    assert not is_secret_name("x" * 10_000)
