package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/attestd/attestd/internal/problem"
)

// openAPIVersion is the version of the specification that the description is written in.
const openAPIVersion = "3.1.1"

// mediaProblem is the media type of problems (RFC 9457 section 6.1).
const mediaProblem = "application/problem+json"

// describe makes the API's description of the table of routes.
func describe(routes []route, version string) ([]byte, error) {
	made := schemas{components: schema{}}
	paths := schema{}
	for _, row := range routes {
		methods, _ := paths[row.path].(schema)
		if methods == nil {
			methods = schema{}
			paths[row.path] = methods
		}
		methods[strings.ToLower(row.method)] = made.operation(row)
	}
	if version == "" {
		version = "unknown"
	}
	document, err := json.Marshal(schema{
		"openapi": openAPIVersion,
		"info": schema{
			"title":   "attestd",
			"version": version,
			"summary": "Judges hardware evidence and says what it is worth.",
			"description": "docs/api.md has the order of things and what each answer means. Whoever can " +
				"connect may ask: there is no authentication but the listener's.",
			"license": schema{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		// The description holds wherever it was fetched from.
		"servers":    []schema{{"url": "/"}},
		"paths":      paths,
		"components": schema{"schemas": made.components},
	})
	if err == nil {
		err = made.err
	}
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return document, nil
}

func (s *schemas) operation(row route) schema {
	about := row.about
	out := schema{
		"operationId": strings.ReplaceAll(row.name, "-", "_"),
		"summary":     about.summary,
		"responses":   s.responses(about),
	}
	var parameters []schema
	if strings.Contains(row.path, "{"+idPlace+"}") {
		parameters = append(parameters, schema{
			"name": idPlace, "in": "path", "required": true, "schema": textSchema(),
		})
	}
	for _, one := range about.query {
		parameters = append(parameters, schema{
			"name": one.name, "in": "query", "description": one.about, "required": one.required,
			"schema": one.shape,
		})
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if about.bodies == nil {
		return out
	}
	content := schema{}
	for media, shape := range about.bodies {
		entry := schema{"schema": schema{}} // bytes: nothing is said of them
		if shape != nil {
			entry["schema"] = s.of(shape)
		}
		if about.example != nil && about.example.media == media {
			entry["example"] = json.RawMessage(about.example.body)
		}
		content[media] = entry
	}
	out["requestBody"] = schema{"required": true, "content": content}
	return out
}

func (s *schemas) responses(about operation) schema {
	out := schema{}
	for _, one := range about.answers {
		status := strconv.Itoa(one.status)
		entry, known := out[status].(schema)
		if !known {
			entry = schema{"description": one.about}
			out[status] = entry
		}
		for name, text := range one.headers {
			entry["headers"] = schema{name: schema{"description": text, "schema": textSchema()}}
		}
		if one.media == "" {
			continue
		}
		shape := textSchema()
		if one.shape != nil {
			shape = s.of(one.shape)
		}
		content, _ := entry["content"].(schema)
		if content == nil {
			content = schema{}
			entry["content"] = content
		}
		content[one.media] = schema{"schema": shape}
	}
	// Answers of the edge itself, to whatever path: 403 for web pages, 500 for bugs.
	for _, status := range append([]int{http.StatusForbidden, http.StatusInternalServerError},
		about.problems...) {
		entry := schema{
			"description": http.StatusText(status) + ".",
			"content": schema{mediaProblem: schema{
				"schema": s.of(reflect.TypeFor[problem.Problem]()),
			}},
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			entry["headers"] = schema{"Retry-After": schema{
				"description": "Seconds to wait before the next try.", "schema": schema{"type": "integer"},
			}}
		}
		out[strconv.Itoa(status)] = entry
	}
	return out
}

func (s *server) openAPI(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	writeDocument(w, http.StatusOK, mediaJSON, s.document)
	return nil
}
