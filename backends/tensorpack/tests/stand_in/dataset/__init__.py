"""Data sets by name."""

from typing import Any, ClassVar


class DatasetRegistry:
    names: ClassVar[dict[str, Any]] = {}
    metadata: ClassVar[dict[tuple[str, str], Any]] = {}

    @classmethod
    def register(cls, name: str, make: Any) -> None:
        cls.names[name] = make

    @classmethod
    def register_metadata(cls, name: str, key: str, value: Any) -> None:
        cls.metadata[name, key] = value

    @classmethod
    def get_metadata(cls, name: str, key: str) -> Any:
        return cls.metadata[name, key]
