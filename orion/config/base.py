"""The base of all configuration blocks."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A configuration block: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)
