"""Settings: where they come from, what is refused, and that the example file tells the truth about them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parallax.settings import MAX_FILE, SETTINGS_FILE, Settings, SettingsInvalid, load

EXAMPLE = (Path(__file__).parents[2] / "dev.local.env.example").read_text()
ENTRIES = re.findall(
    r"((?:^# .*\n)*)^# Default: (\S+?)[.,]?( .*)?\n^#([A-Z_]+)=(\S*)$", EXAMPLE, re.MULTILINE
)
KEY, URL = "key-of-mine-1234", "https://exchange.example/api"


def file(text: str | bytes, name: str = SETTINGS_FILE, mode: int = 0o600) -> None:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    Path(name).chmod(mode)


def test_without_anything_it_is_the_sandbox_on_this_machine_alone() -> None:
    settings = load()
    assert settings.sandbox
    assert (settings.host, settings.port) == ("127.0.0.1", 4000)
    assert settings.journal == Path("sandbox.journal")


def test_a_key_and_an_address_mean_the_real_exchange_with_a_journal_of_its_own() -> None:
    file(f"API_KEY={KEY}\nAPI_URL={URL}/\n")
    settings = load()
    assert not settings.sandbox
    assert settings.api_url == URL
    assert settings.journal == Path("parallax.journal")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file("PORT=4001\n")
    assert load().port == 4001
    monkeypatch.setenv("PORT", "4002")
    assert load().port == 4002
    assert load(port=4003, host=None).port == 4003


def test_sites_and_names_are_separated_by_commas() -> None:
    file(
        "PARALLAX_ALLOWED_ORIGINS=http://localhost:3000, https://Desk.example\nPARALLAX_ALLOWED_HOSTS=desk.example,\n"
    )
    settings = load()
    assert settings.parallax_allowed_origins == ("http://localhost:3000", "https://desk.example")
    assert settings.parallax_allowed_hosts == ("desk.example",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARALLAX_ALLOWED_ORIGINS", "*"),
        ("PARALLAX_ALLOWED_ORIGINS", "https://desk.example/path"),
        ("PARALLAX_ALLOWED_ORIGINS", "desk.example"),
        ("PARALLAX_ALLOWED_HOSTS", "desk.example:4000"),
        ("PARALLAX_ALLOWED_HOSTS", "https://desk.example"),
    ],
)
def test_what_is_no_site_or_name_is_refused(name: str, value: str) -> None:
    file(f"{name}={value}\n")
    with pytest.raises(SettingsInvalid, match=name):
        load()


def test_an_empty_variable_takes_back_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    file(f"API_KEY={KEY}\nAPI_URL={URL}\nPORT=4001\n")
    for name in ("API_KEY", "API_URL", "PORT"):
        monkeypatch.setenv(name, "")
    settings = load()
    assert settings.sandbox
    assert settings.port == 4000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("HOST", "0.0.0.0"),  # noqa: S104 - refused
        ("HOST", "example.com"),
        ("HOST", "::"),
        ("API_URL", "exchange.example"),
        ("API_URL", "ftp://exchange.example/api"),
        ("API_URL", "https://me:secret@exchange.example/api"),
        ("API_URL", "https://exchange.example/api?key=1"),
        ("API_URL", "https://exchange.example:port/api"),
        ("API_URL", "https://[exchange/api"),
        ("API_URL", "https:///api"),
        ("API_URL", "http://exchange.example/api"),
        ("API_URL", "http://192.0.2.1/api"),
        ("API_URL", "http://127.0.0.1.example/api"),
        ("API_URL", "http://[2001:db8::1]/api"),
        ("API_KEY", "half a k\u00e9y"),
        ("API_KEY", "line\nbreak"),
        ("PARALLAX_CALLS_PER_SECOND", "0"),
        ("PARALLAX_CALLS_PER_SECOND", "nan"),
        ("PARALLAX_CALLS_AT_ONCE", "2"),
        ("PARALLAX_GRACE_SECONDS", "-1"),
        ("PARALLAX_GRACE_SECONDS", "soon"),
    ],
)
def test_nonsense_is_one_line_that_names_the_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", KEY)
    monkeypatch.setenv("API_URL", URL)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refused:
        load()
    words = str(refused.value)
    assert words.startswith(f"{name}: ")
    assert "\n" not in words
    assert KEY not in words
    assert "secret" not in words
    if name == "API_KEY":
        assert value not in words


def test_a_key_without_an_address_and_an_address_without_a_key_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", KEY)
    with pytest.raises(SettingsInvalid, match=r"API_KEY is set and API_URL is not") as refused:
        load()
    assert KEY not in str(refused.value)
    monkeypatch.delenv("API_KEY")
    monkeypatch.setenv("API_URL", URL)
    with pytest.raises(SettingsInvalid, match=r"API_URL names a real exchange and API_KEY is not set"):
        load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"API_KEY=\xff\xfe\n", "is not UTF-8"),
        ("PORT=4000\nwhat is this\n", "in line 2"),
        (f"API_KEY='{KEY}\n", "in line 1"),
        ("#" * (MAX_FILE + 1), "is larger than"),
    ],
)
def test_a_settings_file_that_cannot_be_read_whole_is_refused(text: str | bytes, words: str) -> None:
    file(text)
    with pytest.raises(SettingsInvalid, match=words) as refused:
        load()
    assert SETTINGS_FILE in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_settings_file_that_is_a_directory_is_refused() -> None:
    Path(SETTINGS_FILE).mkdir()
    with pytest.raises(SettingsInvalid, match=r"dev\.local\.env cannot be read: Is a directory"):
        load()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_a_key_goes_in_clear_to_this_machine_alone(host: str) -> None:
    assert load(api_key=KEY, api_url=f"http://{host}:4001/api").api_url == f"http://{host}:4001/api"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_with_a_key_that_others_may_read_is_refused(mode: int) -> None:
    file(f"API_KEY={KEY}\nAPI_URL={URL}\n", mode=mode)
    with pytest.raises(SettingsInvalid, match=r"others may read it: chmod 600") as refused:
        load()
    assert KEY not in str(refused.value)
    file(f"API_KEY_FILE=key\nAPI_URL={URL}\n", mode=mode)  # no secret: others may read it
    file(KEY, "key", mode)
    with pytest.raises(SettingsInvalid, match=r"API_KEY_FILE: others may read key: chmod 600"):
        load()


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_a_key_may_be_in_a_file_of_its_own(end: str) -> None:
    file(f"API_KEY_FILE=key\nAPI_URL={URL}\n")
    file(KEY + end, "key")
    key = load().api_key
    assert key is not None
    assert key.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "not a file with one key"),
        ("x" * 5_000, "not a file with one key"),
        (b"\xff", "holds a character that no key has"),
        ("two\nlines", "holds a character that no key has"),
    ],
)
def test_a_key_file_without_one_key_is_refused(text: str | bytes | None, words: str) -> None:
    file(f"API_KEY_FILE=key\nAPI_URL={URL}\n")
    if text is not None:
        file(text, "key")
    with pytest.raises(SettingsInvalid, match=f"API_KEY.*{words}") as refused:
        load()
    assert "lines" not in str(refused.value)


def test_a_key_and_a_key_file_are_refused_together(monkeypatch: pytest.MonkeyPatch) -> None:
    file(KEY, "key")
    monkeypatch.setenv("API_KEY_FILE", "key")
    with pytest.raises(SettingsInvalid, match="both set"):
        load(api_key=KEY, api_url=URL)


def test_the_key_is_in_nothing_that_is_shown() -> None:
    settings = load(api_key=KEY, api_url=URL)
    assert KEY not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_the_example_explains_every_setting_and_nothing_else() -> None:
    assert sorted(name.lower() for *_, name, _ in ENTRIES) == sorted(Settings.model_fields)
    assert all(words.strip() for words, *_ in ENTRIES)


@pytest.mark.parametrize(("default", "name", "shown"), [(entry[1], entry[3], entry[4]) for entry in ENTRIES])
def test_the_example_names_the_defaults(default: str, name: str, shown: str) -> None:
    settings = Settings(**({"api_key": KEY, "api_url": URL} if name == "PARALLAX_JOURNAL" else {}))  # type: ignore[arg-type]
    value = settings.journal if name == "PARALLAX_JOURNAL" else getattr(settings, name.lower())
    assert default == (
        "none" if value in (None, ()) else f"{value:g}" if isinstance(value, float) else str(value)
    )
    assert default in ("none", shown)


def test_the_example_can_be_copied_as_it_is_and_with_every_line_in_force() -> None:
    file(EXAMPLE)
    assert load() == Settings()
    file(re.sub(r"^#([A-Z_]+=)", r"\1", EXAMPLE, flags=re.MULTILINE).replace("API_KEY=", f"API_KEY={KEY}"))
    settings = load()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
