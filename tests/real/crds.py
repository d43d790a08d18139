"""Validates objects (a JSON list on standard input) against the schemas of CustomResourceDefinitions (YAML files).

A structural schema is turned into JSON Schema as the API server reads it: unknown fields are errors here, because the
server would drop them silently (pruning)."""

import json
import sys

import jsonschema
import yaml


def strict(schema, root=False):
    schema = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") or key in (
        "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")}
    preserve = schema.pop("x-kubernetes-preserve-unknown-fields", False)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    if schema.pop("nullable", False):
        schema["type"] = [schema["type"], "null"]
    for key in ("description", "default", "example", "externalDocs", "title"):
        schema.pop(key, None)
    if "properties" in schema:
        schema["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        # apiVersion, kind and metadata are every object's; metadata is checked by the API server itself.
        if root:
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                                     "metadata": {"type": "object"}}
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    elif schema.get("type") == "object" and not preserve and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    if "items" in schema:
        schema["items"] = strict(schema["items"])
    # Inside allOf, anyOf, oneOf and not, a structural schema only restricts values.
    return schema


checker = jsonschema.FormatChecker()


@checker.checks("date-time")
def date_time(value):
    import datetime
    if not isinstance(value, str):
        return True
    try:
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        return False


schemas = {}
for name in sys.argv[1:]:
    for document in yaml.safe_load_all(open(name)):
        if not document or document["kind"] != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            if version["served"]:
                schema = strict(version["schema"]["openAPIV3Schema"], root=True)
                schemas[f'{spec["group"]}/{version["name"]}', spec["names"]["kind"]] = schema

wrong = 0
objects = json.load(sys.stdin)
for item in objects:
    schema = schemas[item["apiVersion"], item["kind"]]
    for error in jsonschema.Draft202012Validator(schema, format_checker=checker).iter_errors(item):
        wrong += 1
        print(item["kind"], item["metadata"]["name"], error.json_path, error.message, file=sys.stderr)
if wrong or not objects:
    sys.exit(f"{wrong} errors in {len(objects)} objects")
print(len(objects))
