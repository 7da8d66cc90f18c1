// Package jsonschema holds the JSON Schemas (draft 2020-12) of the topics whose
// values are JSON, for third parties that check what they write.
package jsonschema

import "embed"

// Files are the schemas: rates.v1.json, commands.v1.json, status.v1.json,
// events.v1.json, attacks.v1.json and baselines.v1.json.
//
//go:embed *.json
var Files embed.FS
