"""Resolve a student: a checkpoint folder or hub revision → model.json with its digests, template and sizes.

Run: ``python -m orion.model --config JSON --name NAME --output O [--checkpoint DIR]`` (the folder of a model made here).
"""

from orion import checkpoints, provenance, stage, tables


def main(argv: list[str] | None = None) -> None:
    made = stage.parser(__doc__, "name", "output")
    made.add_argument("--checkpoint", metavar="DIR", help="folder of a checkpoint that the workflow made itself")
    args = made.parse_args(argv)
    config = args.config
    source = {"kind": "path", "path": args.checkpoint} if args.checkpoint else config["source"]
    folder = checkpoints.resolve(source)
    document = checkpoints.describe(
        folder,
        name=args.name,
        chat_template_file=config.get("chat_template"),
        context_length=config.get("context_length"),
        dtype=config["dtype"],
        trust_remote_code=config["trust_remote_code"],
        repo=source.get("repo"),
        revision=source.get("revision"),
    )
    stage.log(f"{args.name}: {document['parameters']:,} parameters, context {document['context_length']}")
    tables.write_json(document, args.output, provenance.record("orion.model", config, {}))


if __name__ == "__main__":
    stage.run(main)
