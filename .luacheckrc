std = "lua54"
max_line_length = 120
read_globals = { "prosody" }

files["prosody"] = { globals = { "module" } }
files["bench"] = { globals = { "module" } }
