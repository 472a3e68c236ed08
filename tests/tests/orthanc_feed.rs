//! What Orthanc says of its own changes is followed: with a real one.

use std::time::Duration;

use http::Method;
use lightbox_tests::{Keeper, Orthanc, Place, Reply, client, ct, skip, slow_test};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_orthanc_itself_is_no_longer_shown() {
    const PART: &str = "Orthanc's changes";
    if !slow_test(PART) {
        return;
    }
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let keys = [("orthanc_changes", "1s"), ("upstream_credentials", "none")];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&orthanc.url()).await;
    // Once it knows where the list of changes ends.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let places = [Place::new(7, 1, 1), Place::new(8, 1, 1)];
    for place in &places {
        assert!(orthanc.store(&ct(place, 0)).await, "Orthanc takes it");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let path = |place: &Place| format!("{}/thumbnail", place.path());
    for place in &places {
        assert_eq!(proxy.get(&path(place)).await.status(), 200);
        let again = proxy.get(&path(place)).await;
        assert!(again.header("cache-status").starts_with("lightbox; hit"));
    }
    let root = orthanc.url().trim_end_matches("/dicom-web").to_owned();
    let find = format!(
        r#"{{"Level":"Study","Query":{{"StudyInstanceUID":"{}"}}}}"#,
        places[0].study_uid()
    );
    let found = client().post(format!("{root}/tools/find")).body(find).send().await;
    let found = Reply::read(found.expect("Orthanc answers")).await.text();
    let ids: Vec<String> = serde_json::from_str(&found).expect("a list of identifiers");
    let deleted = client()
        .request(Method::DELETE, format!("{root}/studies/{}", ids[0]))
        .send()
        .await
        .expect("Orthanc answers");
    assert_eq!(deleted.status(), 200);
    let mut last = 0;
    for _ in 0..100 {
        last = proxy.get(&path(&places[0])).await.status();
        if last == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last, 404, "{}", proxy.log());
    // The other is as it was.
    let other = proxy.get(&path(&places[1])).await;
    assert!(other.header("cache-status").starts_with("lightbox; hit"), "{:?}", other.headers);
}
