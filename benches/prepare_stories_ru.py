#!/usr/bin/env python3
"""Make train.jsonl and validation.jsonl of {"text": story} from folders of Russian TinyStories (field `story`).

  prepare_stories_ru.py FOLDER_OR_FILE… -o FOLDER [--megabytes 4] [--validation 200] [--text-bytes 480]

Equal stories are taken once. With --text-bytes, stories are cut at ends of sentences into texts of at most so
many bytes: a model without Cyrillic pieces spends a token on every byte, stories260K has room for 512.
The split follows each story's hash, so that it does not depend on the
order of the files: the stories with the smallest hashes validate, the next ones train.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path


def read_stories(paths: list[Path]) -> dict[str, str]:
    """Hash → story, for every story."""
    files = []
    for path in paths:
        files += sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    stories = {}
    for file in files:
        for number, line in enumerate(file.open(encoding="utf-8"), 1):
            try:
                story = json.loads(line)["story"].strip()
            except (ValueError, KeyError, AttributeError) as error:
                raise SystemExit(f"error: {file}:{number}: no field `story` with a text ({error!r})") from error
            if story:
                stories[hashlib.sha256(story.encode()).hexdigest()] = story
    return stories


def cut(story: str, most: int) -> list[str]:
    """The story in texts of at most `most` bytes, each of whole sentences; a longer sentence is left out."""
    texts = [""]
    for sentence in re.findall(r"\S.*?(?:[.!?…»\"]+\s+|\n+|$)", story, re.DOTALL):
        if len((texts[-1] + sentence).rstrip().encode()) > most:
            texts.append("")
        if len(sentence.rstrip().encode()) <= most:
            texts[-1] += sentence
    return [text.rstrip() for text in texts if text]


def write(path: Path, stories: list[str]) -> None:
    """One JSON object a line; the file appears whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps({"text": s}, ensure_ascii=False) + "\n" for s in stories), encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", help="JSONL files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--megabytes", type=float, default=4.0, help="size of the training text (default 4)")
    parser.add_argument("--validation", type=int, default=200, help="stories for validation (default 200)")
    parser.add_argument("--text-bytes", type=int, help="cut stories into texts of at most so many bytes")
    args = parser.parse_args()
    ordered = [story for _, story in sorted(read_stories(args.paths).items())]
    if len(ordered) <= args.validation:
        raise SystemExit(f"error: {len(ordered)} stories, more than {args.validation} are needed")
    train, size = [], 0
    for story in ordered[args.validation :]:
        size += len(story.encode())
        if size > args.megabytes * 1e6:
            break
        train.append(story)
    args.out.mkdir(parents=True, exist_ok=True)
    parts = {"train": train, "validation": ordered[: args.validation]}
    report = {}
    for name, stories in parts.items():
        texts = [t for story in stories for t in (cut(story, args.text_bytes) if args.text_bytes else [story])]
        write(args.out / f"{name}.jsonl", texts)
        report[name] = {"stories": len(stories), "texts": len(texts), "bytes": sum(len(t.encode()) for t in texts)}
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
