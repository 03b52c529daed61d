-- ask.lua NETWORKS OTHER [json | close]: what wrk asks of /lookup: one after the other of the networks of bench/door.py that are listed
-- (OTHER: 0), or are not (1), in an order that has nothing to do with that of an index.

local networks, step, at = 0, 0, 0
local headers = {["X-Forwarded-For"] = "203.0.113.9", ["Accept-Language"] = "en"}
local format = ""

function init(words)
    networks = tonumber(words[1]) / 2
    at = tonumber(words[2])
    step = 2 * 611953 -- a prime number: it comes by each
    other = at
    if words[3] == "json" then
        format = "&format=json"
    elseif words[3] == "close" then
        headers["Connection"] = "close"
    end
end

function request()
    at = (at + step) % (2 * networks)
    local host = at - at % 2 + other
    return wrk.format("GET", string.format("/lookup?%d.%d.%d.%d%s", 16 + math.floor(host / 16777216), math.floor(host / 65536) % 256,
                                           math.floor(host / 256) % 256, host % 256, format), headers)
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "wrong": %d}\n', summary.requests,
                           summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
                           e.connect + e.read + e.write + e.status + e.timeout))
end
