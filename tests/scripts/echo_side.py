"""A side of the bench for its tests: answers what it is asked, refuses, or dies."""

import sys

from scripts.bench.sides import serve


def answer(question: dict[str, str]) -> dict[str, object]:
    if question["do"] == "refuse":
        raise ValueError("I would rather not")
    if question["do"] == "die":
        sys.exit("first line\nthe reason")
    sys.stdout.write("a library talks\n")
    return {"did": question["do"]}


if __name__ == "__main__":
    serve({"name": "echo"}, answer)
