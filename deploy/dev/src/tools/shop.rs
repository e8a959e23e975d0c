//! The shop database: a few thousand invented rows, the same on every machine.

use std::path::Path;
use std::sync::Arc;

use aegis_core::time::{Clock, Timestamp};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{Row as _, SqliteConnection};

use super::fault::ToolFault;
use super::query::{Checked, Query, STATEMENT_TIME_MAX};

/// Customers in the shop.
pub const CUSTOMERS: i64 = 1_000;
/// Products on sale.
pub const PRODUCTS: i64 = 200;
/// Orders placed, each with one payment.
pub const ORDERS: i64 = 3_000;

const CONNECTIONS_MAX: u32 = 4;
/// Virtual machine steps between two looks at the clock.
const STEPS_PER_CHECK: i32 = 10_000;
/// Says that the tables are filled; raised whenever the generated data changes.
const DATA_VERSION: i64 = 1;
const FIRST_DAY: Timestamp = Timestamp::from_seconds(1_767_225_600);

const SCHEMA: &str = "
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, phone TEXT NOT NULL,
    city TEXT NOT NULL, country TEXT NOT NULL, joined_at TEXT NOT NULL);
CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL, category TEXT NOT NULL,
    price_cents INTEGER NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
    status TEXT NOT NULL, placed_at TEXT NOT NULL, total_cents INTEGER NOT NULL);
CREATE TABLE order_items (order_id INTEGER NOT NULL REFERENCES orders (id), product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL, PRIMARY KEY (order_id, product_id));
CREATE TABLE payments (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id), card_holder TEXT NOT NULL,
    card_number TEXT NOT NULL, amount_cents INTEGER NOT NULL, paid_at TEXT NOT NULL);
CREATE TABLE integrations (id INTEGER PRIMARY KEY, service TEXT NOT NULL, credential TEXT NOT NULL, note TEXT NOT NULL);
CREATE INDEX orders_customer ON orders (customer_id);
";

/// The shop.
#[derive(Clone)]
pub struct Shop {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl Shop {
    /// Opens the database, generating it the first time.
    ///
    /// # Errors
    /// If the file can't be opened or written.
    pub async fn open(file: &Path, clock: Arc<dyn Clock>) -> Result<Self, ToolFault> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&pool).await?.try_get(0)?;
        if version != DATA_VERSION {
            generate(&pool).await?;
        }
        Ok(Self { pool, clock })
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// As [`Checked::parse`], and what the database says.
    pub async fn run(&self, query: Query) -> Result<Value, ToolFault> {
        let statement = Checked::parse(&query.query)?;
        let mut connection = self.pool.acquire().await?;
        let started = self.clock.monotonic();
        let clock = Arc::clone(&self.clock);
        connection
            .lock_handle()
            .await?
            .set_progress_handler(STEPS_PER_CHECK, move || clock.monotonic().since(started) < STATEMENT_TIME_MAX);
        let answer = statement.run(&mut connection).await;
        connection.lock_handle().await?.remove_progress_handler();
        answer
    }
}

async fn generate(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    // One transaction, with the version last: dying half-way leaves an empty database that is filled next time.
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
    let mut dice = Dice(0x0a_e6_15);
    fill_customers(&mut tx, &mut dice).await?;
    fill_products(&mut tx, &mut dice).await?;
    fill_orders(&mut tx, &mut dice).await?;
    fill_integrations(&mut tx, &mut dice).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {DATA_VERSION}"))).execute(&mut *tx).await?;
    tx.commit().await
}

const GIVEN: [&str; 16] = [
    "Ada", "Bjarne", "Chidi", "Daria", "Emil", "Fatou", "Goran", "Hanae", "Ines", "Jonas", "Kavya", "Liam", "Mei",
    "Noor", "Olga", "Pablo",
];
const FAMILY: [&str; 16] = [
    "Abebe",
    "Brandt",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
];
const PLACES: [(&str, &str); 8] = [
    ("Lisbon", "PT"),
    ("Hamburg", "DE"),
    ("Lyon", "FR"),
    ("Krakow", "PL"),
    ("Oslo", "NO"),
    ("Osaka", "JP"),
    ("Lagos", "NG"),
    ("Austin", "US"),
];
const DOMAINS: [&str; 3] = ["example.com", "example.org", "example.net"];

async fn fill_customers(tx: &mut SqliteConnection, dice: &mut Dice) -> Result<(), sqlx::Error> {
    for id in 1..=CUSTOMERS {
        let (given, family) = (dice.pick(&GIVEN), dice.pick(&FAMILY));
        let (city, country) = dice.pick(&PLACES);
        let email = format!("{}.{}{id}@{}", given.to_lowercase(), family.to_lowercase(), dice.pick(&DOMAINS));
        sqlx::query("INSERT INTO customers VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(id)
            .bind(format!("{given} {family}"))
            .bind(email)
            .bind(format!("+1 202-555-{:04}", 100 + id % 100))
            .bind(city)
            .bind(country)
            .bind(day(dice.below(365)))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

const KINDS: [(&str, &str); 8] = [
    ("Kettle", "kitchen"),
    ("Lamp", "home"),
    ("Chair", "home"),
    ("Notebook", "office"),
    ("Backpack", "travel"),
    ("Bottle", "travel"),
    ("Headphones", "audio"),
    ("Keyboard", "office"),
];
const COLOURS: [&str; 8] = ["Red", "Blue", "Green", "Black", "White", "Grey", "Amber", "Teal"];

async fn fill_products(tx: &mut SqliteConnection, dice: &mut Dice) -> Result<(), sqlx::Error> {
    for id in 1..=PRODUCTS {
        let (kind, category) = dice.pick(&KINDS);
        sqlx::query("INSERT INTO products VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(id)
            .bind(format!("SKU-{id:05}"))
            .bind(format!("{} {kind}", dice.pick(&COLOURS)))
            .bind(category)
            .bind(500 + dice.below(20_000))
            .bind(dice.below(300))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn fill_orders(tx: &mut SqliteConnection, dice: &mut Dice) -> Result<(), sqlx::Error> {
    for id in 1..=ORDERS {
        let placed = dice.below(365);
        let status = dice.pick(&["paid", "paid", "shipped", "shipped", "delivered", "returned"]);
        sqlx::query("INSERT INTO orders VALUES ($1, $2, $3, $4, 0)")
            .bind(id)
            .bind(1 + dice.below(CUSTOMERS))
            .bind(status)
            .bind(day(placed))
            .execute(&mut *tx)
            .await?;
        let first = 1 + dice.below(PRODUCTS);
        for step in 0..=dice.below(3) {
            sqlx::query("INSERT INTO order_items SELECT $1, id, $2, price_cents FROM products WHERE id = $3")
                .bind(id)
                .bind(1 + dice.below(3))
                .bind(1 + (first + step) % PRODUCTS)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("UPDATE orders SET total_cents = (SELECT SUM(quantity * price_cents) FROM order_items WHERE order_id = $1) WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO payments SELECT o.id, o.id, c.name, $2, o.total_cents, $3 FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $1",
        )
        .bind(id)
        .bind(dice.test_card())
        .bind(day(placed))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Credentials of invented services: shaped like real ones, so that redaction has something to find.
async fn fill_integrations(tx: &mut SqliteConnection, dice: &mut Dice) -> Result<(), sqlx::Error> {
    const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let rows = [
        ("warehouse bucket", format!("AKIA{}", dice.text(UPPER, 16)), "access key of the stock export"),
        ("source hosting", format!("ghp_{}", dice.text(MIXED, 36)), "used by the release robot"),
        ("payments", format!("sk_live_{}", dice.text(MIXED, 24)), "card processor"),
        ("chat", format!("xoxb-{}-{}", dice.text(b"0123456789", 12), dice.text(MIXED, 24)), "order notifications"),
        (
            "reporting",
            format!("postgres://report:{}@db.internal.example:5432/shop", dice.text(MIXED, 20)),
            "read replica",
        ),
    ];
    for (id, (service, credential, note)) in (1_i64..).zip(rows) {
        sqlx::query("INSERT INTO integrations VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(service)
            .bind(credential)
            .bind(note)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

fn day(offset: i64) -> String {
    Timestamp::from_seconds(FIRST_DAY.as_seconds() + offset * 86_400).to_string()
}

/// A small deterministic generator (SplitMix64): the shop is the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next() % bound.unsigned_abs()).unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.below(i64::try_from(from.len()).unwrap_or(1));
        from[usize::try_from(index).unwrap_or(0)]
    }

    fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(self.pick(alphabet))).collect()
    }

    /// A card number of the range that processors reserve for tests, with a valid check digit.
    fn test_card(&mut self) -> String {
        let mut digits = format!("424242{}", self.text(b"0123456789", 9));
        digits.push(luhn_digit(&digits));
        digits
    }
}

fn luhn_digit(digits: &str) -> char {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
            d / 10 + d % 10
        })
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::time::SystemClock;

    async fn ask(shop: &Shop, query: &str) -> Result<Value, ToolFault> {
        shop.run(Query { query: query.to_owned() }).await
    }

    #[tokio::test]
    async fn the_shop_is_generated_once_and_keeps_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        let shop = Shop::open(&file, Arc::new(SystemClock::new())).await.unwrap();
        let answer = ask(&shop, "SELECT COUNT(*) AS n, MIN(total_cents) AS least FROM orders").await.unwrap();
        assert_eq!(answer["rows"][0]["n"], ORDERS);
        assert!(answer["rows"][0]["least"].as_i64() > Some(0), "{answer}");
        let done = ask(&shop, "UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
        assert_eq!(done["rows_affected"], 1);
        drop(shop);
        let again = Shop::open(&file, Arc::new(SystemClock::new())).await.unwrap();
        assert_eq!(ask(&again, "SELECT stock FROM products WHERE id = 1").await.unwrap()["rows"][0]["stock"], 7);
    }

    #[tokio::test]
    async fn long_and_large_answers_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let shop = Shop::open(&dir.path().join("shop.db"), Arc::new(SystemClock::new())).await.unwrap();
        let answer = ask(&shop, "SELECT id FROM orders").await.unwrap();
        assert_eq!((answer["row_count"].as_u64(), answer["truncated"].as_bool()), (Some(1_000), Some(true)));
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n";
        assert!(matches!(ask(&shop, endless).await, Err(ToolFault::LimitReached(_))));
        assert!(matches!(ask(&shop, "SELECT nothing FROM nowhere").await, Err(ToolFault::Sql(_))));
    }

    #[test]
    fn cards_pass_the_luhn_check() {
        assert_eq!(luhn_digit("424242424242424"), '2');
    }
}
