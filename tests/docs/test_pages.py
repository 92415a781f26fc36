"""The blocks of a page run as a reader would run them (docs/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.pages import Page


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.close()
    assert not page.root.exists()


def test_blocks_share_a_folder_and_pass_if_they_end_with_0(page: Page) -> None:
    assert page.python("# parts/student.py\nwidth = 8\n") is None
    assert page.bash("grep -q 'width = 8' parts/student.py; ls configs/demo > names") is None
    assert page.python("assert 'digits_kd.py' in open('names').read()\n") is None
    assert not page.has_failed


@pytest.mark.parametrize("source", ["false; echo last", "false | cat; echo last", "echo $MISSING"])
def test_a_failed_line_ends_a_bash_block(page: Page, source: str) -> None:
    result = page.bash(f"echo first; {source}")
    assert result is not None and "first" in result and "last" not in result
    assert page.has_failed


def test_a_failed_python_block_returns_its_traceback(page: Page) -> None:
    assert "ZeroDivisionError" in (page.python("print(1 / 0)\n") or "")


def test_the_command_has_output_and_exit_code_of_a_process(page: Page) -> None:
    assert page.bash("mmickd --version | grep -q '^mmickd '; mmickd env > env.txt") is None
    result = page.bash("mmickd check missing.py")
    assert result is not None and "code 2" in result and "missing.py" in result
    (page.folder / "parts").mkdir()
    (page.folder / "parts" / "my_part.py").write_text("print('imported')\n")
    code = "custom_imports = dict(imports=['my_part'])\ncustom_hooks = []\n"
    (page.folder / "run.py").write_text(code)
    result = page.bash("PYTHONPATH=parts mmickd check run.py")
    assert result is not None and "imported" in result
