"""Writes the documents' tables anew.

python -m benchmarks.tables
"""

from __future__ import annotations

from .documents import DOCUMENTS, ROOT, filled


def main() -> None:
    for document in DOCUMENTS:
        path = ROOT / document
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(document)


if __name__ == "__main__":
    main()
