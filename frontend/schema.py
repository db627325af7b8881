"""Prints the JSON schema of the page's data, from which `types.mjs` makes `src/page.ts`."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from saecircuits.publication.page_shape import PageData


class _Written(GenerateJsonSchema):
    """As the page is written: keys with a default are always there; and no title beside a name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["type"] != "typed-dict-field" or field.get("required", total)


if __name__ == "__main__":
    schema = PageData.model_json_schema(mode="serialization", schema_generator=_Written)
    print(json.dumps(schema, indent=1))
