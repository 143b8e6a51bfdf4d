import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from flows.cli import FLOWS
from pipelines.settings import load_config
from tests.conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = CONFIG["deployments"]


def flow_of(deployment):
    return load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["entrypoint"])
def test_a_deployment_fits_the_flow_it_names(deployment):
    flow_of(deployment).validate_parameters(deployment["parameters"])
    parameters = dict(deployment["parameters"])
    load_config(parameters["run"], preset=parameters["preset"], overrides=parameters["overrides"])


def test_a_misspelled_parameter_does_not_fit():
    with pytest.raises(TypeError, match="prseet"):
        flow_of(DEPLOYMENTS[0]).validate_parameters({"prseet": "tiny"})


def test_every_flow_of_the_command_line_has_one_deployment_and_the_same_name():
    named = {flow_of(deployment).name: deployment["entrypoint"] for deployment in DEPLOYMENTS}
    assert named == {name: where.replace(":", ".") for name, (where, _) in FLOWS.items()}
    assert {deployment["name"] for deployment in DEPLOYMENTS} == {"local"}


def test_no_deployment_names_a_place_on_some_machine():
    assert "/" not in str(CONFIG["pull"])
    assert "$NUWA_ROOT" in str(CONFIG["pull"])
