#!/usr/bin/env python3
"""Make train.jsonl and validation.jsonl of {"text": story} from folders of Russian TinyStories (field `story`).

  prepare_stories_ru.py FOLDER_OR_FILE… -o FOLDER [--megabytes 4] [--validation 200]

Equal stories are taken once. The split follows each story's hash, so that it does not depend on the
order of the files: the stories with the smallest hashes validate, the next ones train.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path


def read_stories(paths: list[Path], longest: int) -> dict[str, str]:
    """Hash → story, for every story of at most `longest` characters."""
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
            if story and len(story) <= longest:
                stories[hashlib.sha256(story.encode()).hexdigest()] = story
    return stories


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
    parser.add_argument("--longest", type=int, default=2000, help="leave out stories of more characters (default 2000)")
    args = parser.parse_args()
    ordered = [story for _, story in sorted(read_stories(args.paths, args.longest).items())]
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
    for name, stories in parts.items():
        write(args.out / f"{name}.jsonl", stories)
    print(json.dumps({name: {"stories": len(s), "bytes": sum(len(x.encode()) for x in s)} for name, s in parts.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
