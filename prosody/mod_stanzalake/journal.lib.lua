-- The journal: an append-only log of event lines on disk, the source of truth for unacknowledged events.
--
-- An offset counts bytes since the journal's creation. A segment is a file named by the offset of its first byte; it
-- ends where the next segment begins. Bytes that a crash or a full disk left after the last whole line need no repair:
-- the next segment begins at their offset and hides them.

local lfs = require "lfs";

local SEGMENT_NAME = "%020d.ndjson";

local journal_mt = {};
journal_mt.__index = journal_mt;

local function make_directory(path)
	if lfs.attributes(path, "mode") == "directory" then return; end
	local parent = path:match("^(.+)/[^/]+/*$");
	if parent then make_directory(parent); end
	assert(lfs.mkdir(path));
end

local function read_all(path)
	local file = assert(io.open(path, "rb"));
	local text = file:read("a");
	file:close();
	return text;
end

local function segment_path(directory, start)
	return directory.."/"..SEGMENT_NAME:format(start);
end

-- Gives where each segment of a directory begins, in order.
local function find_segments(directory)
	local starts = {};
	for name in lfs.dir(directory) do
		local start = #name == SEGMENT_NAME:format(0):len() and name:match("^(%d+)%.ndjson$");
		if start then starts[#starts + 1] = math.tointeger(tonumber(start)); end
	end
	table.sort(starts);
	return starts;
end

-- Searches from the end; a pattern would match every byte before.
local function last_line_feed(text)
	for i = #text, 1, -1 do
		if text:byte(i) == 10 then return i; end
	end
	return 0;
end

-- Returns the length of all whole lines in bytes, and the last line.
local function whole_lines(text)
	local stop = last_line_feed(text);
	if stop == 0 then return 0; end
	local lines = text:sub(1, stop - 1);
	return stop, lines:sub(last_line_feed(lines) + 1);
end

function journal_mt:segment_path(start)
	return segment_path(self.directory, start);
end

-- Removes segments without a whole line: the next segment may need their name.
function journal_mt:recover()
	self.starts = find_segments(self.directory);
	while self.starts[1] do
		local start = self.starts[#self.starts];
		local size, line = whole_lines(read_all(self:segment_path(start)));
		if line then
			self.written, self.last_line = start + size, line;
			return;
		end
		os.remove(self:segment_path(table.remove(self.starts)));
	end
end

-- Without this file, or with a damaged one, everything is sent again: repeats, never a loss.
function journal_mt:recover_acked()
	local file = io.open(self.directory.."/acked", "rb");
	local acked, position = (file and file:read("a") or ""):match("^(%d+) (%d+)\n$");
	if file then file:close(); end
	self.acked = math.tointeger(tonumber(acked)) or 0;
	self.last_position = math.tointeger(tonumber(position)) or 0;
end

-- Opens the journal in a directory, which is created if missing.
--   segment_size: bytes of a segment
--   limit: maximum bytes of unacknowledged lines
local function open(directory, segment_size, limit)
	make_directory(directory);
	local journal = setmetatable({
		directory = directory, segment_size = segment_size, limit = limit;
	}, journal_mt);
	journal:recover_acked();
	journal:recover();
	-- If a crash lost acknowledged lines, their offsets are not used again.
	journal.written = math.max(journal.written or 0, journal.acked);
	journal.acked = math.max(journal.acked, journal.starts[1] or 0);
	return journal;
end

function journal_mt:close()
	if self.file then self.file:close(); end
	self.file = nil;
end

function journal_mt:start_segment()
	local file, err = io.open(self:segment_path(self.written), "wb");
	if not file then return nil, err; end
	-- Unbuffered: each line is one write(2), and a failed write leaves nothing to be flushed later.
	file:setvbuf("no");
	if self.starts[#self.starts] ~= self.written then
		table.insert(self.starts, self.written);
	end
	self.file = file;
	return file;
end

function journal_mt:newest_segment()
	if self.file and self.written - self.starts[#self.starts] >= self.segment_size then
		self:close();
	end
	if self.file then return self.file; end
	return self:start_segment();
end

-- Appends a line, line feed included; the OS has it on return.
-- Returns the offset after the line, or nil and the reason.
function journal_mt:append(line)
	if self.written - self.acked + #line > self.limit then
		return nil, "the journal is at its size limit";
	end
	local file, err = self:newest_segment();
	if not file then return nil, err; end
	local ok, write_err = file:write(line);
	if not ok then
		self:close();
		return nil, write_err;
	end
	self.written = self.written + #line;
	return self.written;
end

function journal_mt:segment_of(offset)
	for i = #self.starts, 1, -1 do
		if self.starts[i] <= offset then return self.starts[i], self.starts[i + 1] or self.written; end
	end
end

-- Returns an empty string if a crash left only a torn line.
local function read_lines(file, bytes, available)
	local text = file:read(math.min(bytes, available)) or "";
	local stop = last_line_feed(text);
	if stop == #text then return text; end
	if stop > 0 then return text:sub(1, stop); end
	text = text..(file:read("L") or "");
	return #text <= available and text:sub(-1) == "\n" and text or "";
end

-- Reads whole lines from an offset on: as many as fit into a number of bytes, at least one.
-- Returns the text and the offset after it; nothing at the end of the journal; nil and the reason on a fault.
function journal_mt:read(offset, bytes)
	if offset >= self.written then return; end
	local start, stop = self:segment_of(offset);
	local file, err = io.open(self:segment_path(start), "rb");
	if not file then return nil, err; end
	file:seek("set", offset - start);
	local text = read_lines(file, bytes, stop - offset);
	file:close();
	-- A torn line is skipped: the next segment hides it.
	if text == "" then return self:read(stop, bytes); end
	return text, offset + #text;
end

-- Acknowledges everything before an offset. The newest segment with a line stays, for its last position.
function journal_mt:release(offset)
	self.acked = offset;
	local starts = self.starts;
	while starts[2] and starts[2] <= offset and starts[2] < self.written do
		os.remove(self:segment_path(table.remove(starts, 1)));
	end
end

-- Saves the acknowledged offset, and the last position of the sequence.
function journal_mt:save(position)
	local path = self.directory.."/acked";
	local file, err = io.open(path.."~", "wb");
	if not file then return nil, err; end
	local ok, write_err = file:write(("%d %d\n"):format(self.acked, position));
	local closed, close_err = file:close();
	if not (ok and closed) then return nil, write_err or close_err; end
	return os.rename(path.."~", path);
end

return {
	open = open, make_directory = make_directory, find_segments = find_segments, segment_path = segment_path;
};
