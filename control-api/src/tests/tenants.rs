//! The deployment's tenants, seen by platform administrators.

use http::Method;
use serde_json::json;

use super::World;

#[tokio::test]
async fn platform_administrators_see_every_tenant_and_its_state() {
    let world = World::new().await;
    let platform = world.platform_token().await;
    let body = json!({ "tenant_id": world.other, "tier": "pro", "status": "suspended", "burst": 7 });
    world.call(Method::POST, "/auth/tenants", &platform, Some(body)).await.is(200, "");
    let all = world.call(Method::GET, "/admin/tenants", &platform, None).await.is(200, "");
    assert_eq!((all.data().as_array().unwrap().len(), &all.body["meta"]["total"]), (2, &json!(2)));
    let one = world.call(Method::GET, &format!("/admin/tenants/{}", world.other), &platform, None).await.is(200, "");
    let seen = one.data();
    assert_eq!((&seen["plan"], &seen["is_active"], &seen["burst"]), (&json!("pro"), &json!(false), &json!(7)));
    assert!(all.data().as_array().unwrap().contains(seen));
    let page = world.call(Method::GET, "/admin/tenants?limit=1&offset=1", &platform, None).await.is(200, "");
    assert_eq!(page.data()[0], all.data()[1]);
    for bad in ["/admin/tenants?limit=0", "/admin/tenants?limit=501", "/admin/tenants?offset=1000001"] {
        world.call(Method::GET, bad, &platform, None).await.is(422, "validation_failed");
    }
    let unknown = "/admin/tenants/00000000-0000-4000-8000-000000000000";
    world.call(Method::GET, unknown, &platform, None).await.is(404, "not_found");
}
