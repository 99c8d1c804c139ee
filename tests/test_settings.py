"""Settings: what binds, what is refused and how, and what names an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from squall.asr.settings import RecognitionConfig
from squall.engine.tasks import load_config
from squall.settings import (
    ConfigError,
    changes_since,
    differences,
    digest,
    flatten,
    parse_assignment,
    split_values,
)

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))

PLAIN = """
corpus: {name: demo}
decode: {beam_size: 5}
espnet: {max_epoch: 3, num_workers: 1, optim_conf: {lr: 0.1}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "toy" / "small.yaml"
    file.parent.mkdir()
    file.write_text(PLAIN)
    return file


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_binds(path: Path) -> None:
    config = load_config(path)
    assert (config.recipe, config.experiment) == (path.parent.name, path.stem)
    assert config.description
    for grid in config.grids:
        for key, values in grid.items():
            for value in values:
                load_config(path, {key: value})


def test_names_come_from_the_path(path: Path) -> None:
    config = load_config(path)
    assert (config.recipe, config.experiment, config.variant) == ("toy", "small", "")


@pytest.mark.parametrize("scale", [1, 2.5, "ce"])
def test_resolved_settings_read_back_as_the_same_experiment(
    path: Path, tmp_path: Path, scale: float | str
) -> None:
    import yaml

    config = load_config(path, {"decode.beam_size": 7, "loss.alpha": 1e-5, "loss.scale": scale})
    resolved = tmp_path / "config.yaml"
    resolved.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(resolved) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpus: [", "is not plain YAML"),
        ("", "found NoneType"),
        ("- corpus", "found list"),
        (PLAIN + "lerning_rate: 3\n", "lerning_rate: there is no such setting"),
        (PLAIN + "seed: many\n", "seed: Input should be a valid integer"),
        (PLAIN + "seed: -1\n", "seed: Input should be greater than or equal to 0"),
        (
            PLAIN + "loss: {scale: 0}\n",
            "loss.scale: Value error, it is 0; it must be a number",
        ),
        (PLAIN + "loss: {scale: squentropy}\n", "'squentropy'; it must be a number above 0, or ce"),
        (PLAIN + "loss: {scale: .inf}\n", "it is inf; it must be a number above 0, or ce"),
        (PLAIN + "tokens: {units: phone}\n", "tokens.units: Input should be 'char'"),
        ("corpus: {name: demo}\n", "espnet: Field required"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_problem_is_listed(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)seed: .*decode\.beam_size: "):
        load_config(path, {"seed": "x", "decode.beam_size": 0})


@pytest.mark.parametrize("key", ["seed", "token_list", "output_dir", "ngpu", "model"])
def test_a_key_that_squall_sets_is_refused_in_the_espnet_part(path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is set by squall"):
        load_config(path, {f"espnet.{key}": 1})


def test_a_missing_file_lists_its_neighbours(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"large\.yaml; experiments in that folder: small"):
        load_config(path.with_stem("large"))


def test_a_file_that_is_not_text_is_named(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(ConfigError, match=r"small\.yaml is not plain YAML"):
        load_config(path)


@pytest.mark.fault("Hostile input", "settings that name a Python function", "refused and not run")
@pytest.mark.parametrize("tag", ["apply:os.mkdir", "object/apply:os.mkdir", "object/new:os.mkdir"])
def test_yaml_that_runs_python_is_refused_and_not_run(path: Path, tmp_path: Path, tag: str) -> None:
    made = tmp_path / "made"
    text = f"!!python/{tag} ['{made}']"
    path.write_text(PLAIN + f"description: {text}\n")
    with pytest.raises(ConfigError, match="not plain YAML"):
        load_config(path)
    with pytest.raises(ConfigError, match="not plain YAML"):
        parse_assignment(f"description={text}")
    assert not made.exists()


def _doubled(times: int, alias: str) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n + 1}: &a{n + 1} {alias.replace('*', f'*a{n}')}" for n in range(times)]
    return "\n".join(lines)


@pytest.mark.fault(
    "Hostile input", "settings whose anchors grow, or hold themselves", "an error; nothing is built"
)
@pytest.mark.parametrize(
    "text",
    [
        _doubled(40, "[*, *]"),
        _doubled(40, "{<<: [*, *]}"),
        _doubled(300, "[*]"),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: " + "[" * 5000,
        "a: " + "[" * 60 + "]" * 60,
    ],
    ids=["lists", "merges", "levels", "own list", "own mapping", "unclosed", "deep"],
)
def test_settings_that_grow_are_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"small\.yaml is not plain YAML: .*50 levels"):
        load_config(path)


def test_aliases_that_do_not_grow_are_read(path: Path) -> None:
    path.write_text(PLAIN + "grid: {seed: &s [1, 2], decode.beam_size: *s}\n")
    assert load_config(path).grid == {"seed": [1, 2], "decode.beam_size": [1, 2]}


@pytest.mark.parametrize(
    "value",
    ["2001-99-99", "!!timestamp x", "!!int x", "!!bool x", "!!float x", "0x_", "9" * 5000],
)
def test_values_that_their_tag_cannot_have_are_refused(path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="not plain YAML"):
        parse_assignment(f"seed={value}")
    path.write_text(PLAIN + f"seed: {value}\n")
    with pytest.raises(ConfigError, match=r"small\.yaml is not plain YAML"):
        load_config(path)


@pytest.mark.fault(
    "Hostile input", "settings whose recipe or experiment is a path", "refused: it names one folder"
)
@pytest.mark.parametrize("key", ["recipe", "experiment", "variant"])
@pytest.mark.parametrize("name", ["..", "../x", "/x", "a/../../x", "a\\b", "\0"])
def test_a_name_cannot_lead_to_another_folder(path: Path, key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: .*cannot lead to another"):
        load_config(path, {key: name})


@pytest.mark.parametrize("text", ["base: [1]", 'base: "\\0"', "task: [1]", "task: {}"])
def test_keys_that_are_no_text_are_named(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"small\.yaml: .*{text[:4]}"):
        load_config(path)


def test_overrides_reach_nested_settings(path: Path) -> None:
    config = load_config(path, {"espnet.optim_conf.lr": 0.5, "loss.name": "square", "seed": 4})
    assert config.espnet["optim_conf"] == {"lr": 0.5}
    assert config.espnet["max_epoch"] == 3
    assert (config.loss.name, config.seed) == ("square", 4)


def test_an_override_makes_a_group_that_is_absent_or_null(path: Path) -> None:
    path.write_text(PLAIN + "lm:\n")
    config = load_config(path, {"lm.espnet.max_epoch": 2, "espnet.scheduler_conf.steps": 9})
    assert config.lm is not None
    assert config.lm.espnet == {"max_epoch": 2}
    assert config.espnet["scheduler_conf"] == {"steps": 9}


def test_a_file_lies_over_its_base_key_by_key(path: Path) -> None:
    child = path.with_name("child.yaml")
    child.write_text("base: small.yaml\nespnet: {max_epoch: 9, optim_conf: {eps: 1e-6}}\n")
    config = load_config(child)
    assert config.experiment == "child"
    assert config.decode.beam_size == 5
    assert config.espnet == {
        "max_epoch": 9,
        "num_workers": 1,
        "optim_conf": {"lr": 0.1, "eps": 1e-6},
    }


def test_a_grid_takes_the_place_of_that_of_the_base(path: Path) -> None:
    path.write_text(PLAIN + "grid: {loss.name: [ce, square]}\n")
    child = path.with_name("child.yaml")
    child.write_text("base: small.yaml\ngrid: {loss: [{name: ccql}, {name: ce}]}\n")
    assert load_config(child).grid == {"loss": [{"name": "ccql"}, {"name": "ce"}]}


def test_a_base_that_is_missing_or_leads_back_is_refused(path: Path) -> None:
    path.write_text("base: absent.yaml\n")
    with pytest.raises(ConfigError, match=r"no config file .*absent\.yaml"):
        load_config(path)
    path.write_text("base: other.yaml\n")
    path.with_name("other.yaml").write_text("base: small.yaml\n")
    with pytest.raises(ConfigError, match=r"other\.yaml: base 'small\.yaml' leads back"):
        load_config(path)


def test_an_override_below_a_value_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.name\.x: 'name' is a value, not a group"):
        load_config(path, {"corpus.name.x": 1})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("2E5", 2e5),
        ("-1.e-3", -0.001),
        ("true", True),
        ("null", None),
        ("[1, 1e2]", [1, 100.0]),
        ("{lr: 1e-3}", {"lr": 0.001}),
        ("a=b", "a=b"),
        ("nan", "nan"),
        ("'1e-3'", "1e-3"),
        ("e10", "e10"),
    ],
)
def test_values_have_the_types_that_they_look_like(text: str, value: object) -> None:
    key, parsed = parse_assignment(f" some.key ={text}")
    assert key == "some.key"
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_file_reads_exponents_as_numbers(path: Path) -> None:
    path.write_text(PLAIN.replace("0.1", "1e-3"))
    assert load_config(path).espnet["optim_conf"]["lr"] == 0.001


@pytest.mark.parametrize("text", ["seed", "=3", "", "  =1", "seed=[1"])
def test_an_assignment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_assignment(text)


def test_grid_values_are_split_and_typed() -> None:
    assert split_values(["loss.name=ce,square", "seed=0,1", "lr=1e-3"]) == {
        "loss.name": ["ce", "square"],
        "seed": [0, 1],
        "lr": [0.001],
    }
    assert split_values(
        ["loss={name: ce}, {name: square, scale: 2}", "decode.sets=[dev]", "n=null,3"]
    ) == {
        "loss": [{"name": "ce"}, {"name": "square", "scale": 2}],
        "decode.sets": [["dev"]],
        "n": [None, 3],
    }


@pytest.mark.parametrize(
    "texts",
    [["seed"], ["seed="], ["seed=1,,2"], ["seed=1,"], ["=1"], ["seed=1", "seed=2"], ["a={b: 1"],
     ["a=1],[2"], ["a=1]"], ["a=,1"]],
)  # fmt: skip
def test_a_grid_that_is_none_is_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError):
        split_values(texts)


@pytest.mark.parametrize(
    "change",
    [
        {"espnet.max_epoch": 99},
        {"espnet.num_workers": 8},
        {"espnet.log_interval": 5},
        {"description": "other words"},
        {"grid": {"seed": [1, 2]}},
        {"results_dir": "somewhere"},
        {"corpus.urls": ["http://example.org/a.tar"]},
        {"corpus.checksum": "md5:0"},
        {"decode.beam_size": 50},
        {"decode.sets": ["test"]},
        {"tokens.max_unlearnable": 1},
        {"tokens.normalization": "identity"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_model_keeps_the_directory(path: Path, change: dict[str, Any]) -> None:
    assert load_config(path, change).directory_name == load_config(path).directory_name


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"loss.name": "square"},
        {"loss.scale": 2.0},
        {"loss.scale": "ce"},
        {"loss.alpha": 0.5},
        {"loss.normalize": "token"},
        {"espnet.optim_conf.lr": 0.2},
        {"corpus.dev_speakers": 9},
        {"corpus.options.voices": 3},
        {"tokens.units": "word"},
        {"lm.espnet.max_epoch": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_model_changes_the_directory(path: Path, change: dict[str, Any]) -> None:
    assert load_config(path, change).directory_name != load_config(path).directory_name


def test_the_directory_does_not_depend_on_where_the_file_lies(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "toy" / "small.yaml"
    copy.parent.mkdir(parents=True)
    copy.write_text(PLAIN)
    assert load_config(copy).directory_name == load_config(path).directory_name


def test_a_variant_names_the_decoding_settings_that_differ(path: Path) -> None:
    changed = load_config(path, {"decode.penalty": 0.5, "decode.beam_size": 1, "seed": 3})
    assert changed.variant == "beam_size=1,penalty=0.5"
    assert load_config(path, {"decode": {"beam_size": 1}}).variant == "beam_size=1"


def test_the_same_decoding_spelled_out_is_no_variant(path: Path) -> None:
    assert load_config(path, {"decode.beam_size": 5, "decode.penalty": 0}).variant == ""
    assert load_config(path, {"decode.sets": ["test"]}).variant == ""


def test_hash_does_not_alter_the_settings(path: Path) -> None:
    config = load_config(path)
    config.hashed()
    assert config.espnet["max_epoch"] == 3


@pytest.mark.parametrize(
    ("loss", "system"),
    [
        ({"name": "ce"}, "ce"),
        ({"name": "squentropy", "alpha": 0.1}, "squentropy-a0.1"),
        ({"name": "rescaled_square", "k": 15, "M": 30.0}, "rescaled_square-m30-k15"),
        ({"name": "ce", "label_smoothing": 0.1, "scale": 2}, "ce-ls0.1-scale2"),
        ({"name": "focal", "gamma": 3}, "focal-gamma3"),
        ({"name": "square", "scale": "ce"}, "square-scale-ce"),
        ({"name": "squentropy", "alpha": 0.1, "scale": "1e-3"}, "squentropy-a0.1-scale0.001"),
        ({"name": "ce", "alpha": "much"}, "ce-a=much"),
        ({"name": "ce", "alpha": None}, "ce-a=None"),
    ],
)
def test_systems_are_named_by_loss_and_parameters(
    path: Path, loss: dict[str, Any], system: str
) -> None:
    assert load_config(path, {"loss": loss}).system == system


def test_settings_cannot_be_changed_in_place(path: Path) -> None:
    config = load_config(path)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 5  # type: ignore[misc]


def test_settings_survive_json(path: Path) -> None:
    config = load_config(path, {"loss.alpha": 0.5, "decode.beam_size": 3})
    assert RecognitionConfig.model_validate_json(config.model_dump_json()) == config


def test_differences_name_each_key_with_both_values() -> None:
    before = {"a": {"b": 1, "gone": "x"}, "same": [1, 2]}
    after = {"a": {"b": 2, "new": None}, "same": [1, 2]}
    assert differences(before, after) == [
        "a.b was 1, is 2",
        'a.gone was "x", is absent',
        "a.new was absent, is null",
    ]
    assert differences(before, before) == []


@pytest.mark.parametrize(
    ("recorded", "changes"),
    [
        ({"settings": {"a": 1}, "inputs": {"x": "1"}, "further": {"n": 1}}, []),
        ({"settings": {"a": 1}, "inputs": {"x": "1"}, "further": None}, []),
        ({"settings": {"a": 1}, "inputs": {}}, []),
        ({"settings": {}, "inputs": {"x": "1"}}, ["settings", "settings.a"]),
        ({"settings": {"a": 1}, "inputs": {"x": "2"}}, ["inputs.x"]),
        ({"settings": {"a": 1}, "inputs": {"x": "1", "y": "2"}}, ["inputs.y"]),
        ({}, ["further.n", "inputs.x", "settings.a"]),
    ],
)
def test_what_was_not_recorded_is_no_change_but_for_settings(
    recorded: dict[str, Any], changes: list[str]
) -> None:
    now = {"settings": {"a": 1}, "inputs": {"x": "1"}, "further": {"n": 1}}
    assert [line.split(" was ")[0] for line in changes_since(recorded, now)] == changes


def test_flat_settings_keep_lists_and_empty_groups() -> None:
    assert flatten({"a": {"b": [1], "c": {}}, "d": 2}) == {"a.b": [1], "a.c": {}, "d": 2}


def test_digest_is_that_of_canonical_json() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({})) == 64


def test_a_later_override_is_laid_over_the_earlier_ones(path: Path) -> None:
    group = {"name": "squentropy", "alpha": 2.0}
    overrides = {"loss": group, "loss.alpha": 0.5}
    assert load_config(path, overrides).loss.parameters == {"alpha": 0.5}
    assert group["alpha"] == 2.0
    overrides = {"loss.alpha": 0.5, "loss": group}
    assert load_config(path, overrides).loss.parameters == {"alpha": 2.0}
