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
