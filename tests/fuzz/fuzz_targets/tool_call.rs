//! Calls of strangers: parsing never panics, and what the tool gets has one reading, the one that was judged.
#![no_main]

use aegis_core::json;
use aegis_core::tool_call::ToolCall;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(call) = ToolCall::parse(body, None) {
        let canonical = call.canonical_payload();
        let again = json::parse(canonical.as_bytes()).expect("what we write, we can read");
        assert_eq!(json::canonical(&again), canonical);
    }
});
