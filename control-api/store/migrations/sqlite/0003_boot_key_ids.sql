-- Receipts name the key that signed them; anyone may ask for it.
CREATE INDEX boot_keys_key_id ON boot_keys (key_id);
