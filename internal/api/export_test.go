package api

// Routes lists the rows of the table of routes, for the test that compares it with docs/api.md.
func Routes() (rows [][2]string) {
	for _, row := range routes() {
		rows = append(rows, [2]string{row.method, row.path})
	}
	return rows
}

// ProblemTypes lists the types of problems with their statuses and titles.
func ProblemTypes() map[string][2]any {
	rows := map[string][2]any{}
	for class, known := range edge.Classes() {
		rows[known.Type] = [2]any{known.Status, string(class)}
	}
	return rows
}

// Sample is a request of the API's description.
type Sample struct {
	Method, Path, Query, Media, Body string
	Gives                            int
}

// Samples lists those of the table of routes.
func Samples() (rows []Sample) {
	for _, row := range routes() {
		if one := row.about.example; one != nil {
			rows = append(rows, Sample{row.method, row.path, one.query, one.media, one.body, one.gives})
		}
	}
	return rows
}
