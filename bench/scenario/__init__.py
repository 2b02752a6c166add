"""Scenario files: what they may say, and reading one."""

from bench.scenario.load import check_storable, load_scenario, scenario_json_schema
from bench.scenario.schema import Scenario

__all__ = ["Scenario", "check_storable", "load_scenario", "scenario_json_schema"]
