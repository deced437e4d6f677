package api

// Routes lists the rows of the table of routes, for the test that compares it with docs/api.md.
func Routes() (rows [][2]string) {
	for _, row := range routes() {
		path := row.path
		if path == appraisalPrefix {
			path += "{id}"
		}
		rows = append(rows, [2]string{row.method, path})
	}
	return rows
}

// ProblemTypes lists the types of problems with their statuses and titles.
func ProblemTypes() map[string][2]any {
	rows := make(map[string][2]any, len(classes))
	for class, known := range classes {
		rows[problemType(class)] = [2]any{known.status, string(class)}
	}
	return rows
}
