//! The three forms of an answer: plain objects, their metadata, or the table that kubectl prints.

use http::header;
use serde_json::{Value, json};

use super::columns::{self, Column};
use super::request::Call;
use super::resources::Resource;

/// What the `Accept` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// meta.k8s.io/v1 Table.
    Table,
    /// meta.k8s.io/v1 PartialObjectMetadata.
    Metadata,
}

impl Form {
    /// The first form of the `Accept` header that is served.
    pub fn asked(call: &Call) -> Self {
        for media in call.header(header::ACCEPT).split(',') {
            let wants = |part: &str| media.split(';').any(|given| given.trim() == part);
            if !media.trim().starts_with("application/json") && !media.contains("*/*") {
                continue;
            }
            if wants("as=Table") && wants("v=v1") {
                return Self::Table;
            }
            if (wants("as=PartialObjectMetadata") || wants("as=PartialObjectMetadataList")) && wants("v=v1") {
                return Self::Metadata;
            }
            if !media.contains("as=") {
                return Self::Plain;
            }
        }
        Self::Plain
    }

    /// One object.
    pub fn one(self, resource: &Resource, object: Value, call: &Call) -> Value {
        match self {
            Self::Plain => object,
            Self::Metadata => metadata(&object),
            Self::Table => {
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                table(resource, std::slice::from_ref(&object), meta, call)
            }
        }
    }

    /// One object in a watch.
    pub fn watched(self, resource: &Resource, object: Value, call: &Call) -> Value {
        self.one(resource, object, call)
    }

    /// A list.
    pub fn many(self, resource: &Resource, items: Vec<Value>, meta: Value, call: &Call) -> Value {
        match self {
            Self::Plain => json!({
                "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                "metadata": meta, "items": items,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta, "items": items.iter().map(metadata).collect::<Vec<_>>(),
            }),
            Self::Table => table(resource, &items, meta, call),
        }
    }
}

fn metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(resource: &Resource, objects: &[Value], meta: Value, call: &Call) -> Value {
    let columns = columns::of(resource);
    let definitions: Vec<Value> = columns.iter().map(definition).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(object, call.now)).collect();
            let mut row = json!({"cells": cells});
            match call.ask("includeObject") {
                Some("None") => {}
                Some("Object") => row["object"] = object.clone(),
                _ => row["object"] = metadata(object),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": if column.name == "Name" { "name" } else { "" },
        "description": column.name, "priority": column.priority,
    })
}
