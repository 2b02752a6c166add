"""No command's work, and no exit code, hangs on who reads what it prints."""

from collections.abc import Iterator

import pytest

from tests.commands import APPS, CASES, Server, all_commands, prepare


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("streams")
    prepare(folder)
    made = Server(folder)
    yield made
    made.close()


def test_every_command_is_tried() -> None:
    known = {name for tool, app in APPS.items() for name in all_commands(app, tool)}
    assert known == {name.partition(" -")[0] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_command_works_under_any_streams(name: str, server: Server) -> None:
    result = CASES[name].result
    code, said, complaint, whole = server.run(name, encoding="ascii")
    assert (code, whole) == (0, True), complaint
    assert said.isascii()
    assert said, "a command says something"
    for stdout, stderr in (("closed", "full"), ("gone", "gone"), ("full", "")):
        code, _, complaint, whole = server.run(name, stdout=stdout, stderr=stderr)
        lost = result and stdout != "gone"
        assert (stdout, code, whole) == (stdout, 4 if lost else 0, True), complaint
    assert complaint.count("standard output: No space left on device") == int(result)
    assert "Traceback" not in complaint
