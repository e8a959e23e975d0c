//! Checkpoints of strangers: reading never panics, and there is one spelling of each.
#![no_main]

use aegis_verify::checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(read) = checkpoint::read(text) {
        let mut again = format!("{}\n{}\n{}\n", read.origin, read.size, read.root);
        for line in read.extensions {
            again.push_str(&line);
            again.push('\n');
        }
        assert_eq!(again, text);
    }
});
